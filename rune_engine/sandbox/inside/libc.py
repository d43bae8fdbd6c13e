"""The Linux calls that Python's `os` lacks. Each raises OSError with what was being done."""

from __future__ import annotations

import ctypes
import errno
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """`result` of a C call, or its errno as an OSError."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, argument: int = 0, pointer: ctypes.c_void_p | None = None) -> None:
    third = pointer if pointer is not None else ctypes.c_ulong(0)
    unused = ctypes.c_ulong(0)
    result = _libc.prctl(option, ctypes.c_ulong(argument), third, unused, unused)
    checked(result, f"prctl {option}")


def syscall(number: int, *arguments: int | bytes | ctypes.c_void_p | None, what: str) -> int:
    """A raw system call; integers are passed as longs."""
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(_libc.syscall(ctypes.c_long(number), *converted), what)


def unshare(flags: int) -> None:
    checked(_libc.unshare(ctypes.c_int(flags)), "new namespaces")


def setns(handle: int, kind: int) -> None:
    checked(_libc.setns(ctypes.c_int(handle), ctypes.c_int(kind)), "enter a namespace")


def mount(kind: str, target: str, flags: int, options: str = "") -> None:
    """Mount a new file system of `kind`, or change propagation when `kind` is empty."""
    name = kind.encode() or None
    result = _libc.mount(
        name, os.fsencode(target), name, ctypes.c_ulong(flags), options.encode() or None
    )
    checked(result, f"mount {kind} on {target}")


def enter_root(folder: str) -> None:
    """Make `folder` (a mount point) the root and let go of the old one."""
    os.chdir(folder)
    checked(_libc.pivot_root(b".", b"."), "pivot_root")
    checked(_libc.umount2(b".", 2), "detach the old root")
    os.chdir("/")


def set_host_name(name: bytes) -> None:
    """Name this UTS namespace, so that the machine's own name is not seen."""
    checked(_libc.sethostname(name, len(name)), "set the host name")


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_bounding_set() -> None:
    """Give up the capabilities that anything could be regained from; needs CAP_SETPCAP."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return  # past the last capability that this kernel knows


def drop_capabilities() -> None:
    """Empty this process's capability sets."""
    header = _CapabilityHeader(0x2008_0522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    checked(_libc.capset(ctypes.byref(header), ctypes.byref(nothing)), "drop capabilities")
