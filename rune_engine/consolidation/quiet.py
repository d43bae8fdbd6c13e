"""Whether now is the time to work in the background: each reason against it is a sentence.

`reason_to_wait` is pure; `look_around` asks the machine. Knows nothing of what the work is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time

import psutil

from rune_engine.config import ConsolidationSettings


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the machine and its user are doing.

    `quiet_seconds` is since somebody last asked for something; `load` is per core; `jobs` are
    kinds of unfinished jobs that are not the schedule's own; `clock` is local time.
    """

    quiet_seconds: float
    jobs: tuple[str, ...]
    load: float
    on_battery: bool
    clock: time
    free_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Why not now. `seconds` is how long at least it takes, where that is known."""

    reason: str
    seconds: float | None = None


def look_around(quiet_seconds: float, jobs: tuple[str, ...]) -> Surroundings:
    """The machine as it is now."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return Surroundings(
        quiet_seconds=quiet_seconds,
        jobs=jobs,
        load=psutil.getloadavg()[0] / (psutil.cpu_count() or 1),
        on_battery=battery is not None and battery.power_plugged is False,
        clock=datetime.now().time(),
        free_memory_bytes=psutil.virtual_memory().available,
    )


def reason_to_wait(
    around: Surroundings, settings: ConsolidationSettings, *, fast: bool = False
) -> Wait | None:
    """The first reason not to begin, or None when nothing speaks against it.

    A `fast` update takes seconds: it needs less quiet, no time of day and no idle machine.
    """
    if around.jobs:
        return Wait(f"waits: a {around.jobs[0]} job is unfinished")
    quiet = settings.fast_quiet_seconds if fast else settings.quiet_seconds
    left = quiet - around.quiet_seconds
    if left > 0:
        return Wait(f"waits: somebody used Rune within {quiet:g} s", left)
    if not fast and settings.hours is not None and not _within(around.clock, settings.hours):
        return Wait(f"waits: it is {around.clock:%H:%M}, it works {settings.hours}")
    if around.on_battery and not settings.on_battery:
        return Wait("waits: on battery")
    if not fast and settings.max_load is not None and around.load > settings.max_load:
        return Wait(
            f"waits: the machine is busy (load {around.load:.2f} per core, "
            f"at most {settings.max_load:g})"
        )
    if around.free_memory_bytes < settings.min_free_memory_bytes:
        free, needed = around.free_memory_bytes, settings.min_free_memory_bytes
        return Wait(
            f"waits: {free / 1024**3:.1f} GiB of memory are free, {needed / 1024**3:.1f} are needed"
        )
    return None


def _within(clock: time, hours: str) -> bool:
    """Whether `clock` lies in hours such as "22:00-06:00", which may span midnight."""
    begin, end = (time.fromisoformat(part) for part in hours.split("-"))
    if begin <= end:
        return begin <= clock < end
    return clock >= begin or clock < end
