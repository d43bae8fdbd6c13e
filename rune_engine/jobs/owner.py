"""Who runs a job: this boot, this process, since when. Tells a dead owner from a living one.

A process id alone is given to another process sooner or later, so the time at which the process
started belongs to it, counted by the kernel where it can be: a clock that is set moves nothing.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil

_PARTS = 4
_START_TIME_FIELD = 19
"""Of `/proc/PID/stat`, counted from after the command's name: clock ticks since the boot."""


def this_process() -> str:
    """The owner's name of the calling process."""
    pid = os.getpid()
    return "/".join((_boot(), _pid_namespace(), str(pid), _started(pid) or ""))


def is_alive(owner: str) -> bool:
    """Whether the process of that name may still be running.

    True where it cannot be told: a process of another container is not ours to look at. Its
    lease decides then.
    """
    parts = owner.split("/")
    if len(parts) != _PARTS or parts[0] != _boot() or not parts[2].isdigit():
        return False
    if parts[1] != _pid_namespace():
        return True
    started = _started(int(parts[2]))
    return started is not None and started == parts[3]


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return sys.platform


def _pid_namespace() -> str:
    with suppress(OSError):
        return Path("/proc/self/ns/pid").readlink().name
    return ""


def _started(pid: int) -> str | None:
    """When a process started; None when it is gone, or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if sys.platform != "linux":
            return str(process.create_time())
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (psutil.Error, OSError):
        return None
    return stat.rpartition(")")[2].split()[_START_TIME_FIELD]
