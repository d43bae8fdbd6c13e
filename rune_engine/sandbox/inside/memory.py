"""What the processes of a run hold together, looked at often enough that they cannot outgrow it.

The kernel limits memory by process; a limit for many needs a cgroup, which users rarely have. So
process 1 of a run's PID namespace looks, the sooner the less there is left: nobody fills memory
faster than so many bytes a second on every core, and a run has at most `_CORES`.

Looked for are private pages, present and swapped out. What is shared is bounded elsewhere: by the
size of the folders in memory, and by the filter, which refuses shared memory without a file.
"""

from __future__ import annotations

import os

from rune_engine.sandbox.inside import libc

_CORES = 4
_BYTES_PER_CORE_SECOND = 4e9
_SOONEST, _LATEST = 0.002, 0.05
_HOPELESS = 4
_KCMP, _KCMP_VM = {"x86_64": 312, "aarch64": 272}, 1
_PR_SET_THP_DISABLE = 41


def slow_down() -> None:
    """Bound how fast this process and its children can fill memory: few cores, small pages."""
    cores = sorted(os.sched_getaffinity(0))
    first = os.getrandom(1)[0] % len(cores)
    os.sched_setaffinity(0, (cores[first:] + cores[:first])[:_CORES])
    libc.prctl(_PR_SET_THP_DISABLE, 1)


class Watch:
    """Looks at every process of this PID namespace but the first, which is the caller."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._per_second = _BYTES_PER_CORE_SECOND * min(_CORES, os.cpu_count() or 1)
        self._kcmp = _KCMP[os.uname().machine]

    def look(self) -> float | None:
        """Seconds until the next look has to be; None where they hold too much."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        held = sum(_private_bytes(pid) for pid in pids)
        if self._most < held <= self._most * _HOPELESS:
            held = sum(self._share(pid) for pid in pids)
        if held > self._most:
            return None
        return min(_LATEST, max(_SOONEST, (self._most - held) / self._per_second))

    def _share(self, pid: int) -> int:
        """The bytes that `pid` must answer for: what a fork left shared is divided, and what it
        borrows from its parent until it executes something (vfork) is its parent's."""
        parent = _number(_read(f"/proc/{pid}/status"), b"PPid:")
        if parent > 1 and self._same_memory(pid, parent):
            return 0
        lines = _read(f"/proc/{pid}/smaps_rollup")
        if b"Pss_Anon:" not in lines:  # not to be read where it has made itself unreadable
            return _private_bytes(pid)
        return (_number(lines, b"Pss_Anon:") + _number(lines, b"SwapPss:")) * 1024

    def _same_memory(self, pid: int, other: int) -> bool:
        try:
            return libc.syscall(self._kcmp, pid, other, _KCMP_VM, 0, 0, what="compare") == 0
        except OSError:
            return False


def _private_bytes(pid: int) -> int:
    status = _read(f"/proc/{pid}/status")
    if b"RssAnon:" not in status:  # its first thread has ended, and others may hold the memory
        for thread in _threads(pid):
            status = _read(f"/proc/{pid}/task/{thread}/status")
            if b"RssAnon:" in status:
                break
    return (_number(status, b"RssAnon:") + _number(status, b"VmSwap:")) * 1024


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _read(path: str) -> bytes:
    """Of one of the kernel's small files; nothing where its process is gone or hidden."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(handle, 16384)
    except OSError:
        return b""
    finally:
        os.close(handle)


def _number(lines: bytes, name: bytes) -> int:
    """The number in the line "NAME:  NUMBER ..."; 0 where there is none."""
    _, found, rest = lines.partition(b"\n" + name)
    return int(rest.split(None, 1)[0]) if found else 0
