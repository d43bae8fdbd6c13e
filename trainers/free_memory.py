"""How much more memory this process may take: the accelerator's, or the machine's and its limits'.

Knows nothing of what it is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def held_bytes() -> int:
    """What this process holds of the machine's memory (resident set)."""
    return int(psutil.Process().memory_info().rss)


def free_bytes(device: str) -> int:
    """What can still be taken: free memory of the accelerator, or available memory of the machine,
    or of the control group that this process is in, whichever is less."""
    if device != "cpu":
        free, _ = torch.cuda.mem_get_info()
        return int(free)
    return min(int(psutil.virtual_memory().available), *_left_in_groups(_own_groups()))


def _own_groups() -> Iterator[Path]:
    """The folders of this process's memory control groups, innermost first (version 2, then 1)."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = _CGROUPS / controllers
        inside = root / path.lstrip("/")
        yield from (folder for folder in (inside, *inside.parents) if folder.is_relative_to(root))


def _left_in_groups(folders: Iterator[Path]) -> list[int]:
    found = (left_in_group(folder) for folder in folders)
    return [left for left in found if left is not None] or [2**62]


def left_in_group(folder: Path) -> int | None:
    """What a control group's limit leaves; None without a limit.

    Cached files that are not in use count as free: the kernel drops them first.
    """
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            most = int((folder / limit).read_text(encoding="ascii"))
            now = int((folder / used).read_text(encoding="ascii"))
            stat = (folder / "memory.stat").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            continue
        cached = dict(zip(stat[::2], stat[1::2], strict=False)).get("inactive_file", "0")
        return max(0, most - now + int(cached))
    return None
