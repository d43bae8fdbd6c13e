"""What one isolated execution costs, next to a bare interpreter and to a fork without walls.

    python -m benchmarks.sandbox [--runs 200] [--json FILE]
    python -m benchmarks.sandbox --soak 10000 [--json FILE]

Every round takes one of each, in turn, so that a busy machine slows all: `subprocess.run([python,
"-I", "-c", snippet])`, a fork per test without isolation (a minimal harness, below), our warm and
our cold path. The ratios are the result; the throughput is of 1, 2, ... runs at once. `--soak`
runs that many, a third of them hostile, and says what was left over.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from rune_engine.config import SandboxLimits
from rune_engine.sandbox import Sandbox, zygote
from rune_engine.sandbox.process import run_isolated
from rune_engine.sandbox.tiers import Tier, choose

CANDIDATE = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\nassert add(0, 0) == 0\n"
LIMITS = SandboxLimits()
# What the warden and the filter need, and nothing of a verdict: the candidate is its own test.
REQUEST = {
    "candidate": CANDIDATE + TESTS,
    "tests": "assert add",
    "to_call": [],
    "secret": b"0" * 32,
}
HOSTILE = {
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "candidate_error",
    "import os\nwhile True:\n    os.fork()": "candidate_error",
    "x = bytearray(4 * 1024**3)": "resource_exceeded",
    "for n in range(10**6):\n    open(f'{n}', 'w').close()": "resource_exceeded",
    "import os\nfor n in range(900):\n    os.mkdir('d'); os.chdir('d')\n1 / 0": "candidate_error",
    "import os; os._exit(0)": "candidate_error",
}


def fork_without_walls() -> None:
    """A test in a fork of this process, as the quickest harnesses do it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        scope: dict[str, Any] = {}
        try:
            exec(CANDIDATE + TESTS, scope)
            os.write(writing, b"pass")
        finally:
            os._exit(0)
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    os.waitpid(child, 0)


def bare() -> None:
    command = [sys.executable, "-I", "-c", CANDIDATE + TESTS]
    subprocess.run(command, check=True, capture_output=True)


async def isolated(tier: Tier, hash_seed: int) -> None:
    ended = await run_isolated(tier, {**REQUEST, "hash_seed": hash_seed}, None, LIMITS)
    if not ended.ready or [child.exit_code for child in ended.children] != [0]:
        raise SystemExit(f"a run did not end well: {ended}")


async def interleaved(tier: Tier, runs: int) -> dict[str, Any]:
    await isolated(tier, 0)  # starts the zygote, which later runs find
    taken: dict[str, list[float]] = {"bare": [], "fork": [], "warm": [], "cold": []}
    for _ in range(runs):
        for name, times in taken.items():
            began = time.perf_counter()
            if name == "bare":
                bare()
            elif name == "fork":
                fork_without_walls()
            else:
                await isolated(tier, 0 if name == "warm" else 1)
            times.append(time.perf_counter() - began)
    figures: dict[str, Any] = {name: _summary(times) for name, times in taken.items()}
    for name in ("warm", "cold"):
        for figure in ("median_ms", "p95_ms"):
            ratio = figures[name][figure] / figures["bare"][figure]
            figures[f"{name}_over_bare_{figure[:-3]}"] = round(ratio, 3)
    return figures


def _summary(times: list[float]) -> dict[str, float]:
    return {
        "median_ms": round(statistics.median(times) * 1e3, 2),
        "p95_ms": round(statistics.quantiles(times, n=20)[-1] * 1e3, 2),
        "min_ms": round(min(times) * 1e3, 2),
    }


async def throughput(tier: Tier, runs: int) -> dict[str, float]:
    """Runs per second with 1, 2, ... at once, up to the machine's cores."""
    rates = {}
    for width in range(1, (os.cpu_count() or 1) + 1):
        began = time.perf_counter()
        left = iter(range(runs))

        async def work(left: Any = left) -> None:
            for _ in left:
                await isolated(tier, 0)

        await asyncio.gather(*(work() for _ in range(width)))
        rates[str(width)] = round(runs / (time.perf_counter() - began), 1)
    return rates


def left_over() -> dict[str, int]:
    """What this process and its zygote hold, and what lies in the temporary folder."""
    gc.collect()
    own = psutil.Process()
    tree = [own, *own.children(recursive=True)]
    return {
        "processes": len(tree),
        "handles": sum(each.num_fds() for each in tree),
        "mounts": len(Path("/proc/self/mounts").read_text().splitlines()),
        "files": len(list(Path(tempfile.gettempdir()).glob("rune-box-*"))),
        "memory_mb": sum(each.memory_info().rss for each in tree) >> 20,
    }


async def soak(runs: int, at_once: int) -> dict[str, Any]:
    """`runs` verdicts, every third on a hostile candidate; a wrong one is counted."""
    sandbox, wrong, left = Sandbox(LIMITS), 0, iter(range(runs))
    hostile = list(HOSTILE.items())
    assert (await sandbox.run(CANDIDATE, TESTS)).kind == "pass"
    before = left_over()

    async def work() -> None:
        nonlocal wrong
        for number in left:
            code, expected = (CANDIDATE, "pass")
            if number % 3 == 2:
                code, expected = hostile[number // 3 % len(hostile)]
            verdict = await sandbox.run(code, TESTS)
            wrong += verdict.kind != expected

    await asyncio.gather(*(work() for _ in range(at_once)))
    return {"runs": runs, "wrong_verdicts": wrong, "before": before, "after": left_over()}


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.soak:
        return await soak(arguments.soak, os.cpu_count() or 1)
    tier = choose()
    figures = await interleaved(tier, arguments.runs)
    return {"tier": tier.name, **figures, "per_second": await throughput(tier, arguments.runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--soak", type=int, default=0, metavar="RUNS")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments))
    zygote.close_all()
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
