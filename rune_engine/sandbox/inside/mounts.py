"""The small root that an isolated process sees, built from detached copies of host folders.

Read-only: /usr, /lib*, the linker's cache, the interpreter's own libraries, the workspace.
Writable, in memory and gone with the process: /box and /tmp. Linux 5.12 or newer (mount_setattr).
"""

from __future__ import annotations

import ctypes
import os

from rune_engine.sandbox.inside import libc

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

BOX = "/box"
WORKSPACE = "/workspace"

_READ_ONLY, _REMOUNT = 1, 32
_NOSUID, _NODEV, _NOEXEC, _REC, _PRIVATE = 2, 4, 8, 0x4000, 1 << 18
_MOVE_MOUNT, _OPEN_TREE, _MOUNT_SETATTR = 429, 428, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_IDMAP = 1, 2, 4, 0x0010_0000
_STRICT = _NOSUID | _NODEV | _NOEXEC
_SMALL = "size=1m,nr_inodes=512,mode=0755"
_TMP_BYTES = 4 * 1024**2


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")
    )


class Tree:
    """A detached copy of host files, to be attached at `path` inside."""

    def __init__(self, path: str, handle: int, is_folder: bool) -> None:
        self.path = path
        self.handle = handle
        self.is_folder = is_folder


def detach(path: str, attributes: int, inside: str = "", owners: int | None = None) -> Tree:
    """Copy the mounts under `path`, changed by `attributes`.

    Args:
        inside: where it will be attached; `path` itself when empty.
        owners: a user namespace whose id map translates the files' owners.
    """
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    handle = libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags, what=f"copy {path}")
    if owners is not None:
        attributes |= _ATTR_IDMAP
    change = _MountAttributes(attributes, 0, 0, owners or 0)
    libc.syscall(
        _MOUNT_SETATTR,
        handle,
        b"",
        _AT_EMPTY_PATH | _AT_RECURSIVE,
        ctypes.cast(ctypes.byref(change), ctypes.c_void_p),
        ctypes.sizeof(change),
        what=f"restrict {path}",
    )
    return Tree(inside or path, handle, os.path.isdir(path))


def _read_only(path: str, inside: str = "", owners: int | None = None) -> Tree:
    return detach(path, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, inside, owners)


def _workspace(path: str, owners: int | None) -> Tree:
    try:
        return _read_only(path, WORKSPACE, owners)
    except OSError:  # not every file system can translate owners; then permissions decide
        return _read_only(path, WORKSPACE)


def _system_links() -> list[tuple[str, str]]:
    names = [name for name in os.listdir("/") if name.startswith("lib")]
    return [(f"/{name}", os.readlink(f"/{name}")) for name in names if os.path.islink(f"/{name}")]


def sources(interpreter: list[str]) -> list[str]:
    """The host's folders and files that Python needs."""
    names = [f"/{name}" for name in os.listdir("/") if name.startswith("lib")]
    libraries = [path for path in names if not os.path.islink(path)]
    wanted = ["/usr", *libraries, "/etc/ld.so.cache", *interpreter]
    return [path for path in wanted if os.path.exists(path)]


def _attach(root: str, tree: Tree) -> None:
    target = root + tree.path
    if tree.is_folder:
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
    libc.syscall(
        _MOVE_MOUNT, tree.handle, b"", _AT_FDCWD, os.fsencode(target), 4, what=f"attach {target}"
    )
    os.close(tree.handle)


def _mount_proc(target: str) -> None:
    try:
        libc.mount("proc", target, _STRICT, "subset=pid")
    except OSError:  # Linux before 5.8 does not know the option
        libc.mount("proc", target, _STRICT)


def keep_to_ourselves() -> None:
    """From here on, no mount made in this namespace is seen outside of it, nor the reverse."""
    libc.mount("", "/", _REC | _PRIVATE)


def show_own_processes() -> None:
    """Over /proc, for as long as the old root is there: this PID namespace's own."""
    libc.mount("proc", "/proc", _STRICT)


def build(
    interpreter: list[str],
    workspace: str | None = None,
    owners: int | None = None,
    fill: Callable[[str], None] | None = None,
) -> None:
    """Replace this mount namespace's root by one that nobody can write to.

    Args:
        workspace: a folder to be seen at /workspace.
        owners: a user namespace whose id map translates the workspace's owners.
        fill: adds to the new root, whose path it is given, while the old one is still there.
    """
    links = _system_links()
    trees = [_read_only(path) for path in sources(interpreter)]
    # No /dev/zero: mapped, it is memory that no limit counts.
    trees += [detach(f"/dev/{name}", _ATTR_NOSUID) for name in ("null", "random", "urandom")]
    if workspace is not None:
        trees.append(_workspace(workspace, owners))
    root = "/tmp"
    libc.mount("tmpfs", root, _NOSUID | _NODEV, _SMALL)
    for tree in trees:
        _attach(root, tree)
    for link, target in links:
        os.symlink(target, root + link)
    for name in ("/proc", BOX, "/tmp"):
        os.makedirs(root + name, exist_ok=True)  # an interpreter may lie below /tmp
    _mount_proc(root + "/proc")
    if fill is not None:
        fill(root)
    libc.enter_root(root)
    _seal()


def mount_folder(target: str, owner: int, size: int, inodes: int = 4096) -> None:
    """An empty folder in memory that `owner` may write to."""
    own = f"size={size},mode=0700,uid={owner},gid={owner},nr_inodes={inodes}"
    libc.mount("tmpfs", target, _STRICT, own)


def make_read_only(target: str) -> None:
    libc.mount("", target, _REMOUNT | _READ_ONLY | _STRICT)


def mount_own(owner: int, box_bytes: int) -> None:
    """What belongs to one run: its processes, and empty folders that `owner` may write to."""
    _mount_proc("/proc")
    mount_folder(BOX, owner, box_bytes)
    if os.listdir("/tmp"):  # the interpreter lies there, and must not be covered
        os.environ["TMPDIR"] = BOX
    else:
        mount_folder("/tmp", owner, _TMP_BYTES)


def own_folders() -> list[str]:
    """The folders that `mount_own` made for this run, which it may write to."""
    return [BOX] if os.environ.get("TMPDIR") == BOX else [BOX, "/tmp"]


def _seal() -> None:
    change = _MountAttributes(_ATTR_RDONLY, 0, 0, 0)
    libc.syscall(
        _MOUNT_SETATTR,
        _AT_FDCWD,
        b"/",
        0,
        ctypes.cast(ctypes.byref(change), ctypes.c_void_p),
        ctypes.sizeof(change),
        what="make the root read-only",
    )
