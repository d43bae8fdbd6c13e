"""What memory is worth on rune-nano: `rune demo` over several seeds, taken together.

    python -m benchmarks.memory --seeds 1 2 3 4 5 [--method direct] --json memory.json

Every seed is a fresh home, a real MCP server, engine, trainer and sandbox, and three projects whose
names no model has seen. Base model and memory answer the same tasks in the same run.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KINDS = ("new_combinations", "new_wordings")


def run_seed(seed: int, method: str) -> dict[str, Any]:
    """One demo's figures."""
    with tempfile.TemporaryDirectory(prefix="rune-bench-") as folder:
        figures = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "rune_engine.cli.main", "demo", "--seed", str(seed)]
        command += ["--method", method, "--json", str(figures)]
        command += ["--home", str(Path(folder) / "home")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    return result


def wilson(passed: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % Wilson score interval of a pass rate."""
    rate, squared = passed / total, z * z
    middle = (rate + squared / (2 * total)) / (1 + squared / total)
    spread = z * math.sqrt(rate * (1 - rate) / total + squared / (4 * total**2))
    spread /= 1 + squared / total
    return max(0.0, middle - spread), min(1.0, middle + spread)


def _line(name: str, runs: list[dict[str, Any]], key: str, kind: str, tasks: str) -> str:
    total = sum(run[tasks] if kind in ("base", "memory") else run[tasks] // 2 for run in runs)
    total *= 3 if kind == "memory" else 1
    rate = sum(run[key][kind] for run in runs) / len(runs)
    low, high = wilson(round(rate * total), total)
    return f"{name:<44} {rate:6.1%}   [{low:.1%}, {high:.1%}] of {total}"


def report(runs: list[dict[str, Any]]) -> str:
    """The table of all seeds together."""
    lines = []
    for kind in KINDS:
        title = kind.replace("_", " ")
        lines.append(_line(f"{title}, base", runs, "base_pass_at_1", kind, "tasks"))
        lines.append(_line(f"{title}, with memory", runs, "memory_pass_at_1", kind, "tasks"))
    for kind in ("base", "memory"):
        lines.append(_line(f"plain tasks, {kind}", runs, "plain_pass_at_1", kind, "plain_tasks"))
    seconds = sorted(second for run in runs for second in run["distill_seconds"])
    peak = max(peak for run in runs for peak in run["distill_peak_memory_bytes"])
    lines.append(
        f"a distillation ({runs[0]['method']}): median {seconds[len(seconds) // 2]:.2f} s, at most "
        f"{seconds[-1]:.2f} s, peak memory {peak / 1e6:.0f} MB"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What memory is worth on rune-nano.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--method", default="auto", help="how adapters are made")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        runs.append(run_seed(seed, options.method))
        print(json.dumps(runs[-1]), flush=True)
    print(report(runs))
    if options.json:
        options.json.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
