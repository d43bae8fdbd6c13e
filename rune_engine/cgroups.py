"""What Linux control groups let this process use; a container sees the whole machine otherwise.

Versions 1 and 2. Every group above ours may limit us as well, and the smallest limit holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60
"""Version 1 writes a number near 2**63 for none."""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Bytes: what a group may use at most, and what is left of it, caches counted as free."""

    total: int
    available: int


def cgroup_memory(proc: Path = _PROC, root: Path = _ROOT) -> MemoryLimit | None:
    """The tightest memory limit over this process; None where nothing limits it."""
    found = [limit for group in _groups(proc, root, "memory") if (limit := _memory_of(group))]
    if not found:
        return None
    return MemoryLimit(min(x.total for x in found), min(x.available for x in found))


def cgroup_cores(proc: Path = _PROC, root: Path = _ROOT) -> float | None:
    """How many cores' worth of time this process may use; None where nothing limits it."""
    found = [share for group in _groups(proc, root, "cpu") if (share := _cores_of(group))]
    return min(found, default=None)


def _groups(proc: Path, root: Path, controller: str) -> Iterator[Path]:
    """The folders of our group and of those above it, our own first."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number != "0" and controller not in controllers.split(","):
            continue
        top = root if number == "0" else root / controllers
        if not top.is_dir():
            top = root / controller
        group = top / path.lstrip("/")
        while group != top and top in group.parents:
            yield group
            group = group.parent
        yield top


def _memory_of(group: Path) -> MemoryLimit | None:
    total = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
    if total is None or total >= _NO_LIMIT:
        return None
    used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
    return MemoryLimit(total, max(0, total - max(0, used - _reclaimable(group))))


def _reclaimable(group: Path) -> int:
    """Bytes of file caches that the kernel gives up before it refuses memory."""
    try:
        lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    stat = dict(line.split(maxsplit=1) for line in lines if " " in line)
    value = stat.get("total_inactive_file") or stat.get("inactive_file") or "0"
    return int(value) if value.isdigit() else 0


def _cores_of(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    quota_v1 = _number(group / "cpu.cfs_quota_us")
    period_v1 = _number(group / "cpu.cfs_period_us")
    return quota_v1 / period_v1 if quota_v1 and period_v1 else None


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
