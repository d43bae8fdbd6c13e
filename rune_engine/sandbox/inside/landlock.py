"""Landlock: the kernel's own file access rules, a second wall behind the mounts.

See https://docs.kernel.org/userspace-api/landlock.html. Whether the kernel has it is asked by the
system call itself: /sys/kernel/security may not be mounted.
"""

from __future__ import annotations

import ctypes
import os
import sys

from rune_engine.sandbox.inside import libc

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many file access rights each version of the interface knows."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """The interface's version, 0 where the kernel has no Landlock."""
    if sys.platform != "linux":
        return 0
    try:
        return libc.syscall(_CREATE, None, 0, 1, what="landlock version")
    except OSError:
        return 0


def _pointer(structure: ctypes.Structure) -> ctypes.c_void_p:
    return ctypes.cast(ctypes.byref(structure), ctypes.c_void_p)


def _allow(ruleset: int, path: str, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = _PathBeneath(rights, handle)
    libc.syscall(_ADD_RULE, ruleset, 1, _pointer(rule), 0, what=f"landlock rule for {path}")
    os.close(handle)


def restrict(
    readable: list[str], writable: list[str], devices: list[str], *, execute: bool = False
) -> None:
    """Read and write only beneath these, no network. Needs no_new_privs; 0 ABI is a no-op."""
    version = abi()
    if version == 0:
        return
    every = (1 << _RIGHTS_BY_ABI.get(version, 16)) - 1
    # Network rules exist from version 4 (bind, connect), scopes from 6 (abstract sockets, signals).
    attributes = _Ruleset(every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_CREATE, _pointer(attributes), size, 0, what="landlock ruleset")
    running = _EXECUTE if execute else 0
    for path in readable:
        listing = _READ_DIR if os.path.isdir(path) else 0
        _allow(ruleset, path, _READ_FILE | listing | running)
    for folder in writable:
        _allow(ruleset, folder, every & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK) | running)
    for device in devices:
        _allow(ruleset, device, _READ_FILE | _WRITE_FILE | every & (1 << 14 | 1 << 15))
    libc.syscall(_RESTRICT, ruleset, 0, what="landlock")
    os.close(ruleset)
