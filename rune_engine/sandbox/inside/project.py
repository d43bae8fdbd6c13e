"""The project profile's folders: a copy of the workspace at WORK, trusted files at TESTS.

Processes may be made there and programs executed, so that pytest runs on a small repository. The
copy is made by the warden, in memory and bounded; histories, environments and caches stay behind.
"""

from __future__ import annotations

import os

from rune_engine.sandbox.inside import mounts

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any

WORK, TESTS = "/rune/work", "/rune/tests"
_LEFT_BEHIND = {
    ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox",
    ".mypy_cache", ".ruff_cache", ".pytest_cache",
}  # fmt: skip
_MOST_FILES = 20_000
_CHUNK = 1 << 20


def fill(root: str, workspace: int, payload: dict[str, Any], owner: int) -> None:
    """Put WORK and TESTS into the new root.

    Text by relative path: `payload["files"]` is for TESTS, `payload["work_files"]` replaces what
    the workspace has at WORK.

    Args:
        workspace: a handle of the folder, whose path may be hidden by the new root; -1 for none.

    Raises:
        OSError: the workspace does not fit into the work folder's limit.
    """
    size = int(payload["limits"]["work_folder_bytes"])
    for folder in (WORK, TESTS):
        os.makedirs(root + folder)
        mounts.mount_folder(root + folder, owner, size, _MOST_FILES)
    if workspace >= 0:
        _copy_folder(f"/proc/self/fd/{workspace}", root + WORK, owner)
    for name, text in payload.get("work_files", {}).items():
        _place(root + WORK, name, text, owner)
    for name, text in payload.get("files", {}).items():
        _place(root + TESTS, name, text, owner)
    mounts.make_read_only(root + TESTS)


def _place(folder: str, name: str, text: str, owner: int) -> None:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise OSError(f"{name!r} is no path within a folder")
    for part in parts[:-1]:
        folder = f"{folder}/{part}"
        _unlink_unless_folder(folder)
        if not os.path.isdir(folder):
            os.mkdir(folder)
            os.chown(folder, owner, owner)
    path = f"{folder}/{parts[-1]}"
    _unlink_unless_folder(path)
    with open(path, "x", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chown(path, owner, owner)


def _unlink_unless_folder(path: str) -> None:
    """A link of the workspace's must not be followed: it may lead out of the new root."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)


def _copy_folder(source: str, target: str, owner: int) -> None:
    pending = [(source, target)]
    while pending:
        source, target = pending.pop()
        with os.scandir(source) as entries:
            for entry in entries:
                copy = f"{target}/{entry.name}"
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), copy)
                elif entry.is_dir() and entry.name not in _LEFT_BEHIND:
                    os.mkdir(copy)
                    pending.append((entry.path, copy))
                elif entry.is_file():
                    _copy_file(entry.path, copy)
                else:
                    continue
                os.chown(copy, owner, owner, follow_symlinks=False)


def _copy_file(source: str, target: str) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, os.fstat(reading).st_mode)
    while data := os.read(reading, _CHUNK):
        while data:
            data = data[os.write(writing, data) :]
    os.close(reading)
    os.close(writing)
