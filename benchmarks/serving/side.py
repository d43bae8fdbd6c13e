"""What the back-ends' benchmarks share: what is asked, and a clock for each side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

FLEET, BUDGET_FOR = 200, 25
"""Adapters in use, and how many there is memory for."""
WORDS = ("sort", "the", "rows", "by", "key", "then", "merge", "pairs", "of", "names", "into", "one")


@dataclass
class Side:
    """What one side of a comparison took, call by call, in seconds, and the tokens it made."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    tokens: int = 0

    @contextmanager
    def timed(self, workers: Sequence[int] = ()) -> Iterator[None]:
        """Time the block; processor seconds are of this process and of `workers`, by their ids."""
        processes = [psutil.Process(), *(psutil.Process(pid) for pid in workers)]
        cpu, wall = _used(processes), time.perf_counter()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(_used(processes) - cpu)

    def told(self) -> dict[str, float]:
        return {
            "tokens_per_second": self.tokens / sum(self.wall),
            "tokens_per_cpu_second": self.tokens / max(sum(self.cpu), 1e-9),
        }


def compared(rune: Side, other: Side) -> dict[str, Any]:
    """Both sides' rates, and the first's over the second's."""
    ours, theirs = rune.told(), other.told()
    return {
        "rune": ours,
        "direct": theirs,
        "ratio": ours["tokens_per_second"] / theirs["tokens_per_second"],
        "ratio_cpu": ours["tokens_per_cpu_second"] / theirs["tokens_per_cpu_second"],
    }


def _used(processes: Sequence[psutil.Process]) -> float:
    return sum(_cpu_seconds(process) for process in processes)


def _cpu_seconds(process: psutil.Process) -> float:
    """What a process has used: by its threads' own clocks where the system tells them."""
    try:
        threads = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
        return sum(int(path.read_text().split()[0]) for path in threads) / 1e9
    except (OSError, IndexError):
        return float(sum(process.cpu_times()[:2]))
