"""Kills a child between two of its system calls, with ptrace. Linux only; needs no registers.

A process that is killed at the entry of a call does not make it: so killing at every entry in turn
tries every prefix of what the process does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

TRACEME, SYSCALL, SETOPTIONS = 0, 24, 0x4200
SYSCALL_STOP = signal.SIGTRAP | 0x80  # what PTRACE_O_TRACESYSGOOD makes of a stop at a call
TRACESYSGOOD, EXITKILL = 0x1, 0x100000


def stop_to_be_traced() -> None:
    """In the child: be the parent's tracee, and wait for it."""
    _ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def kill_before_call(pid: int, number: int) -> bool:
    """Let the stopped child make `number - 1` system calls, then kill it.

    Returns:
        False when it ended by itself before that.
    """
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise ChildProcessError(f"the child did not stop to be traced: status {status}")
    _ptrace(SETOPTIONS, pid, TRACESYSGOOD | EXITKILL)
    entries, inside, passed_on = 0, False, 0
    while True:
        _ptrace(SYSCALL, pid, passed_on)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return False
        stopped_by = os.WSTOPSIG(status)
        passed_on = 0 if stopped_by == SYSCALL_STOP else stopped_by
        if stopped_by != SYSCALL_STOP:
            continue
        inside = not inside
        entries += inside
        if entries == number:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return True


def why_unavailable() -> str | None:
    """Why children cannot be traced here; None when they can."""
    if sys.platform != "linux":
        return "ptrace is used as Linux has it"
    pid = os.fork()
    if pid == 0:
        try:
            stop_to_be_traced()
        finally:
            os._exit(0)
    try:
        return None if kill_before_call(pid, 1) else "a traced child ran on"
    except OSError as error:
        return f"ptrace is not permitted here ({error})"


def _ptrace(request: int, pid: int, data: int = 0) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.restype = ctypes.c_long
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if library.ptrace(request, pid, None, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
