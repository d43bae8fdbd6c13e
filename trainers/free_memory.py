"""How much more memory this process may take, and what it holds, whatever it is for."""

from __future__ import annotations

import psutil
import torch

from rune_engine.cgroups import cgroup_memory


def free_memory(device: str) -> int:
    """Bytes that may be taken now: of the accelerator's memory, or of the machine's and the control
    group's, whichever is less."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    available, limit = int(psutil.virtual_memory().available), cgroup_memory()
    return available if limit is None else min(available, limit.available)


def held_memory() -> int:
    """Bytes of the machine's memory that this process holds (resident set)."""
    return int(psutil.Process().memory_info().rss)
