"""A seccomp filter: the system calls that a candidate may not make.

A deny list. No process is created (threads are), nothing is executed, no socket but AF_UNIX, no
namespace, no mount, no shared memory outside of the address space limit, no look at another
process. SIGKILL is refused too, so that a killed candidate was killed by the kernel or by us.

Three variants: `pure` is the above; `project` lets processes be made and programs be executed,
but keeps them on their cores and from memory that is shared without a file (see memory.py);
`alone` is for a process without namespaces around it, which may also signal, reschedule or regroup
nobody but itself, open no socket at all, and change no file's owner, mode, times or attributes
(which Landlock does not watch).
"""

from __future__ import annotations

import ctypes
import os
import struct

from rune_engine.sandbox.inside import libc

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF_0000, 0x8000_0000
_EPERM, _ENOSYS = 0x0005_0000 | 1, 0x0005_0000 | 38
_X32_BIT = 0x4000_0000
_AF_UNIX, _SIGKILL, _CLONE_THREAD, _SET_DEATH_SIGNAL = 1, 9, 0x0001_0000, 1
_SET_THP_DISABLE, _SHARED_WITHOUT_FILE = 41, 0x21
_CLONE_NEW = 0x7E02_0000

_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

# Numbers from 424 on are the same on every architecture.
_DENIED_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "process_mrelease": 448,
}
# clone3 hides its flags behind a pointer; without it the C library falls back to clone.
_ABSENT_EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "clone3": 435,
}
# fmt: off
_DENIED = {
    "x86_64": {
        "shmget": 29, "shmat": 30, "fork": 57, "vfork": 58, "execve": 59, "semget": 64,
        "msgget": 68, "ptrace": 101, "syslog": 103, "personality": 135, "modify_ldt": 154,
        "pivot_root": 155, "adjtimex": 159, "chroot": 161, "acct": 163, "settimeofday": 164,
        "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
        "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
        "init_module": 175, "delete_module": 176, "quotactl": 179, "clock_settime": 227,
        "mq_open": 240, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
        "migrate_pages": 256, "unshare": 272, "move_pages": 279, "perf_event_open": 298,
        "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304,
        "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
        "kcmp": 312, "finit_module": 313, "memfd_create": 319, "kexec_file_load": 320,
        "bpf": 321, "execveat": 322, "userfaultfd": 323,
    },
    "aarch64": {
        "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "quotactl": 60, "acct": 89,
        "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105,
        "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142,
        "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "adjtimex": 171,
        "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194, "shmat": 196,
        "add_key": 217, "request_key": 218, "keyctl": 219, "execve": 221, "swapon": 224,
        "swapoff": 225, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241,
        "fanotify_init": 262, "name_to_handle_at": 264, "open_by_handle_at": 265,
        "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
        "kcmp": 272, "finit_module": 273, "memfd_create": 279, "bpf": 280, "execveat": 281,
        "userfaultfd": 282, "kexec_file_load": 294,
    },
}
# fmt: off
_ALONE_EVERYWHERE = {"fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "file_setattr": 469}
_ALONE = {
    "x86_64": {
        "socket": 41, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94,
        "setpgid": 109, "setsid": 112, "utime": 132, "setpriority": 141, "sched_setparam": 142,
        "sched_setscheduler": 144, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
        "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "tkill": 200,
        "sched_setaffinity": 203, "utimes": 235, "ioprio_set": 251, "inotify_init": 253,
        "fchownat": 260, "futimesat": 261, "fchmodat": 268, "utimensat": 280,
        "inotify_init1": 294, "sched_setattr": 314,
    },
    "aarch64": {
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
        "fremovexattr": 16, "inotify_init1": 26, "ioprio_set": 30, "fchmod": 52, "fchmodat": 53,
        "fchownat": 54, "fchown": 55, "utimensat": 88, "sched_setparam": 118,
        "sched_setscheduler": 119, "sched_setaffinity": 122, "tkill": 130, "setpriority": 140,
        "setpgid": 154, "setsid": 157, "socket": 198, "sched_setattr": 274,
    },
}
# fmt: on
_PROCESSES = ("fork", "vfork", "execve", "execveat")
_MMAP = {"x86_64": 9, "aarch64": 222}
_SET_CORES = {"x86_64": 203, "aarch64": 122}
_SIGNALS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
# Calls that depend on an argument: (number, index of the argument).
_BY_ARGUMENT = {
    "x86_64": {
        "socket": (41, 0),
        "clone": (56, 0),
        "prlimit64": (302, 0),
        "kill": (62, 1),
        "tkill": (200, 1),
        "tgkill": (234, 2),
        "rt_sigqueueinfo": (129, 1),
        "rt_tgsigqueueinfo": (297, 2),
        "prctl": (157, 0),
    },
    "aarch64": {
        "socket": (198, 0),
        "clone": (220, 0),
        "prlimit64": (261, 0),
        "kill": (129, 1),
        "tkill": (130, 1),
        "tgkill": (131, 2),
        "rt_sigqueueinfo": (138, 1),
        "rt_tgsigqueueinfo": (240, 2),
        "prctl": (167, 0),
    },
}
# fmt: on
_RULES = {
    # name: (comparison, value, what a true comparison means, what a false one means)
    "socket": (_EQUAL, _AF_UNIX, _ALLOW, _EPERM),
    "clone": (_ANY_BIT, _CLONE_THREAD, _ALLOW, _EPERM),
    "prlimit64": (_EQUAL, 0, _ALLOW, _EPERM),
    "prctl": (_EQUAL, _SET_DEATH_SIGNAL, _EPERM, _ALLOW),  # it dies with its warden
}
_NO_LARGE_PAGES = (_EQUAL, _SET_THP_DISABLE, _EPERM, _ALLOW)
_NO_NAMESPACES = (_ANY_BIT, _CLONE_NEW, _EPERM, _ALLOW)
_NO_SIGKILL = (_EQUAL, _SIGKILL, _EPERM, _ALLOW)


def supported() -> bool:
    """Whether the tables know this machine's architecture."""
    return os.uname().machine in _AUDIT_ARCH


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int, answer: int) -> bytes:
    return _instruction(_EQUAL, number, 0, 1) + _instruction(_RETURN, answer)


def _by_argument(number: int, index: int, rule: tuple[int, int, int, int]) -> bytes:
    comparison, value, if_true, if_false = rule
    return (
        _instruction(_EQUAL, number, 0, 4)
        + _instruction(_LOAD, 16 + 8 * index)  # low half: these arguments are 32 bits wide
        + _instruction(comparison, value, 0, 1)
        + _instruction(_RETURN, if_true)
        + _instruction(_RETURN, if_false)
    )


def _to_itself(number: int, index: int, process: int) -> bytes:
    """A signal to `process`, which is the first argument, and no SIGKILL."""
    return (
        _instruction(_EQUAL, number, 0, 7)
        + _instruction(_LOAD, 16)
        + _instruction(_EQUAL, process, 1, 0)
        + _instruction(_RETURN, _EPERM)
        + _instruction(_LOAD, 16 + 8 * index)
        + _instruction(_EQUAL, _SIGKILL, 0, 1)
        + _instruction(_RETURN, _EPERM)
        + _instruction(_RETURN, _ALLOW)
    )


def _no_shared_memory(number: int) -> bytes:
    """mmap of what no file holds, to be shared: whose it is could not be told."""
    return (
        _instruction(_EQUAL, number, 0, 5)
        + _instruction(_LOAD, 16 + 8 * 3)
        + _instruction(_AND, _SHARED_WITHOUT_FILE)
        + _instruction(_EQUAL, _SHARED_WITHOUT_FILE, 0, 1)
        + _instruction(_RETURN, _EPERM)
        + _instruction(_RETURN, _ALLOW)
    )


def _argument_rules(machine: str, variant: str) -> bytes:
    parts = [_no_shared_memory(_MMAP[machine])] if variant == "project" else []
    for name, (number, index) in _BY_ARGUMENT[machine].items():
        rule = _RULES.get(name, _NO_SIGKILL)
        if variant == "project" and name == "clone":
            rule = _NO_NAMESPACES
        if variant == "project" and name == "prctl":
            rule = _NO_LARGE_PAGES
        if variant == "project" and (name in _SIGNALS or name == "tkill"):
            continue
        if variant == "alone" and name in _SIGNALS:
            parts.append(_to_itself(number, index, os.getpid()))
        elif variant != "alone" or name not in _ALONE[machine]:
            parts.append(_by_argument(number, index, rule))
    return b"".join(parts)


def _denied(machine: str, variant: str) -> list[int]:
    denied = {**_DENIED[machine], **_DENIED_EVERYWHERE}
    if variant == "project":
        denied = {name: number for name, number in denied.items() if name not in _PROCESSES}
        denied["sched_setaffinity"] = _SET_CORES[machine]
    if variant == "alone":
        denied.update(_ALONE[machine] | _ALONE_EVERYWHERE)
    return list(denied.values())


def program(machine: str, variant: str = "pure") -> bytes:
    """The filter for `machine`, as classic BPF instructions."""
    parts = [
        _instruction(_LOAD, 4),
        _instruction(_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, 0),
    ]
    if machine == "x86_64":
        parts.append(_instruction(_AT_LEAST, _X32_BIT, 0, 1) + _instruction(_RETURN, _KILL_PROCESS))
    parts.append(_argument_rules(machine, variant))
    parts += [_refuse(number, _EPERM) for number in _denied(machine, variant)]
    parts += [_refuse(number, _ENOSYS) for number in _ABSENT_EVERYWHERE.values()]
    parts.append(_instruction(_RETURN, _ALLOW))
    return b"".join(parts)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


_prepared: dict[str, bytes] = {}


def prepare(variant: str) -> None:
    """Build the filter now, so that no fork of this process has to."""
    _prepared[variant] = program(os.uname().machine, variant)


def restrict(variant: str) -> None:
    """Install the filter on this thread. Needs no_new_privs; cannot be undone."""
    code = _prepared.get(variant) or program(os.uname().machine, variant)
    argument = _Program(len(code) // 8, code)
    libc.prctl(libc.PR_SET_SECCOMP, 2, ctypes.cast(ctypes.byref(argument), ctypes.c_void_p))
