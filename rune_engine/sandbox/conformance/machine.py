"""A look from outside at an attack's processes and at what all processes share, while it runs.

Every attack gives its processes the scene's name, and the kernel hands it down to their children,
however they hide. Linux only: elsewhere nothing is seen, and the report says so.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_EVERY_SECONDS = 0.04
_LAST_LOOKS = 75
_OBJECTS = ("bpf", "perf_event", "io_uring", "userfaultfd", "memfd:")
_NAMESPACES = ("user", "mnt", "net", "pid")


@dataclass(frozen=True)
class Bounds:
    """More than this is an effect."""

    processes: int
    memory_bytes: int
    shared_bytes: int
    disk_bytes: int
    files: int
    handles: int
    answer_bytes: int = 2 * 1024**2


SMALL = Bounds(
    processes=15,
    memory_bytes=128 * 1024**2,
    shared_bytes=128 * 1024**2,
    disk_bytes=128 * 1024**2,
    files=1500,
    handles=700,
)


@dataclass
class Seen:
    """The most that was seen of an attack; `times` is how often it was seen at all."""

    times: int = 0
    processes: int = 0
    memory_bytes: int = 0
    shared_bytes: int = 0
    disk_bytes: int = 0
    files: int = 0
    handles: int = 0
    privileged: bool = False
    objects: set[str] = field(default_factory=set)
    walls: dict[int, set[tuple[str, ...]]] = field(default_factory=dict)
    first_limits: dict[int, dict[str, float]] = field(default_factory=dict)
    raised_limits: set[str] = field(default_factory=set)
    survivors: int = 0

    def effects(self, bounds: Bounds) -> set[str]:
        found = {
            "processes": self.processes > bounds.processes,
            "memory": self.memory_bytes > bounds.memory_bytes,
            "shared memory": self.shared_bytes > bounds.shared_bytes,
            "disk": self.disk_bytes > bounds.disk_bytes,
            "inodes": self.files > bounds.files,
            "open files": self.handles > bounds.handles,
            "privileges": self.privileged,
            "namespaces": any(len(walls) > 1 for walls in self.walls.values()),
            "limits": bool(self.raised_limits),
            "kernel objects": bool(self.objects),
            "survived": self.survivors > 0,
        }
        return {effect for effect, happened in found.items() if happened}


def _named(name: str) -> list[int]:
    """The processes that carry an attack's name; those that are dead and not reaped do not count.

    Where a first thread has ended and others have not, one of the others stands for it.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"({name})" not in (folder / "stat").read_text(errors="replace"):
                continue
            threads = sorted((folder / "task").iterdir(), key=lambda thread: int(thread.name))
            living = [int(thread.name) for thread in threads if _lives(thread)]
            found += living[:1]
    return found


def _lives(thread: Path) -> bool:
    stat = (thread / "stat").read_text(errors="replace")
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _hard_limits(table: str) -> dict[str, float]:
    """From the lines "Max NAME   SOFT   HARD   UNIT" of /proc/PID/limits."""
    found = {}
    for line in table.splitlines()[1:]:
        hard = line[26:].split()[1]
        found[line[:26].strip()] = float("inf") if hard == "unlimited" else float(hard)
    return found


@dataclass(frozen=True)
class _Held:
    """By one process alone: what others do at the time does not hide it."""

    memory_bytes: int
    handles: int


@dataclass(frozen=True)
class _Totals:
    shared_bytes: int
    disk_free: int
    files_free: int
    handles: int


def _totals() -> _Totals:
    lines = Path("/proc/meminfo").read_text().splitlines()
    shared = next(int(line.split()[1]) for line in lines if line.startswith("Shmem:"))
    disk = shutil.disk_usage(tempfile.gettempdir()).free
    files = os.statvfs(tempfile.gettempdir()).f_ffree
    handles = int(Path("/proc/sys/fs/file-nr").read_text().split()[0])
    return _Totals(shared * 1024, disk, files, handles)


class _Watcher:
    def __init__(self, name: str, *, shared: bool) -> None:
        self.seen = Seen()
        self._name = name
        self._before = _totals() if shared else None

    def look(self) -> None:
        pids = _named(self._name)
        self.seen.times += bool(pids)
        self.seen.processes = max(self.seen.processes, len(pids))
        memory = handles = 0
        for pid in pids[:200]:
            with suppress(OSError, StopIteration):
                held = self._look_at(pid)
                memory += held.memory_bytes
                handles += held.handles
        self.seen.memory_bytes = max(self.seen.memory_bytes, memory)
        self.seen.handles = max(self.seen.handles, handles)
        if self._before is not None:
            self._look_at_totals(self._before)

    def _look_at(self, pid: int) -> _Held:
        """Remember one process's walls; returns what it holds."""
        folder = Path("/proc", str(pid))
        lines = (folder / "status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        without = status["NoNewPrivs"].strip() == "1" and int(status["CapEff"], 16) == 0
        self.seen.privileged |= not without
        links = tuple(str((folder / "ns" / name).readlink()) for name in _NAMESPACES)
        self.seen.walls.setdefault(pid, set()).add(links)
        now = _hard_limits((folder / "limits").read_text())
        first = self.seen.first_limits.setdefault(pid, now)
        self.seen.raised_limits.update(name for name in now if now[name] > first[name])
        handles = list((folder / "fd").iterdir())
        for handle in handles[:100]:
            with suppress(OSError):
                link = str(handle.readlink())
                self.seen.objects.update(kind for kind in _OBJECTS if kind in link)
        return _Held(int(status.get("RssAnon", "0 kB").split()[0]) * 1024, len(handles))

    def _look_at_totals(self, before: _Totals) -> None:
        now, seen = _totals(), self.seen
        seen.shared_bytes = max(seen.shared_bytes, now.shared_bytes - before.shared_bytes)
        seen.disk_bytes = max(seen.disk_bytes, before.disk_free - now.disk_free)
        seen.files = max(seen.files, before.files_free - now.files_free)
        seen.handles = max(seen.handles, now.handles - before.handles)

    async def look_on(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(_EVERY_SECONDS)

    async def end(self) -> None:
        """Give what is left a moment to end; count and kill what does not."""
        for _ in range(_LAST_LOOKS):
            if not (left := _named(self._name)):
                return
            await asyncio.sleep(_EVERY_SECONDS)
        self.seen.survivors = len(left)
        for _ in range(_LAST_LOOKS):
            for pid in _named(self._name):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(_EVERY_SECONDS)


@asynccontextmanager
async def watching(name: str, *, shared: bool) -> AsyncIterator[Seen]:
    """Watch the processes called `name`, and with `shared` the whole machine's totals."""
    if sys.platform != "linux":
        yield Seen()
        return
    watcher = _Watcher(name, shared=shared)
    looking = asyncio.create_task(watcher.look_on())
    try:
        yield watcher.seen
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        watcher.look()  # what was written is still there, however seldom there was time to look
        await watcher.end()
