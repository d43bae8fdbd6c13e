"""Limits and privileges of the process that will run the candidate. Knows no mounts."""

from __future__ import annotations

import resource
import sys


def limit_resources(limits: dict[str, int | float]) -> None:
    """Set the limits of `SandboxLimits` that the kernel keeps; they cannot be raised again."""
    cpu = int(limits["cpu_seconds"])
    values = {
        "RLIMIT_AS": (int(limits["memory_bytes"]),) * 2,
        # SIGXCPU at the first, SIGKILL at the second for those who ignore it.
        "RLIMIT_CPU": (cpu, cpu + 1),
        "RLIMIT_FSIZE": (int(limits["file_bytes"]),) * 2,
        "RLIMIT_NOFILE": (int(limits["open_files"]),) * 2,
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_MSGQUEUE": (0, 0),
        "RLIMIT_MEMLOCK": (0, 0),
    }
    if "processes" in limits:
        values["RLIMIT_NPROC"] = (int(limits["processes"]),) * 2
    if sys.platform == "darwin":
        del values["RLIMIT_AS"]  # refused there
    for name, (soft, hard) in values.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            _lower(kind, soft, hard)


def _lower(kind: int, soft: int, hard: int) -> None:
    ceiling = resource.getrlimit(kind)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))
