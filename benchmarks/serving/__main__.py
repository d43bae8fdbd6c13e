"""Every promise of serving, measured and judged: `python -m benchmarks.serving`.

Each module of this package runs in a process of its own; `--only` names some of them. vLLM is
measured where RUNE_VLLM_PYTHON names a Python that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.random_models import NANO

LARGE = "qwen2.5-coder-0.5b"
LARGE_SECTIONS = ("--only", "alone", "batch", "switch", "retries")
"""All but the fleet, whose 200 adapters would take gigabytes of disk."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A bound of one figure, which is found by its path of keys."""

    path: str
    bound: float
    at_least: bool = True

    def judged(self, figures: dict[str, Any]) -> tuple[float, bool] | None:
        """The figure and whether it holds; None where it was not measured."""
        found: Any = figures
        for key in self.path.split("."):
            if not isinstance(found, dict) or key not in found:
                return None
            found = found[key]
        value = float(found)
        return value, value >= self.bound if self.at_least else value <= self.bound


PROMISES = {
    "transformers": (
        Promise("switch.extra_ms", 5.0, at_least=False),
        Promise("switch.ratio", 1.05, at_least=False),
        Promise("switch.times_faster_than_reloading", 50),
        Promise("alone.ratio", 0.95),
        Promise("batch.ratio", 0.95),
        Promise("retries.ratio", 1.5),
        Promise("fleet.ratio", 0.5),
        Promise("fleet.wrong_answers", 0, at_least=False),
    ),
    "llama": (
        Promise("switching.switch_extra_ms", 2.0, at_least=False),
        Promise("switching.switched_over_stayed", 1.05, at_least=False),
        Promise("switching.reload_over_switch", 50),
        Promise("one_at_a_time.ratio", 0.95),
        Promise("batches.ratio", 0.95),
        Promise("retries.speed_up", 1.5),
        Promise("fleet.ratio", 0.5),
        Promise("fleet.wrong_answers", 0, at_least=False),
    ),
    "vllm": tuple(
        Promise(f"{kind}.ratio", 0.95)
        for kind in ("base_1", "base_8", "adapter_1", "adapter_8", "mixed_8")
    ),
    "lease": (
        Promise("trained.failed", 0, at_least=False),
        Promise("killed.failed", 0, at_least=False),
    ),
}


def runs(only: list[str], shapes: list[str]) -> Iterator[tuple[str, list[str]]]:
    """What is to be run: a module's name and its options."""
    for name in only:
        if name in ("transformers", "llama"):
            for shape in shapes:
                large = name == "transformers" and shape == LARGE
                yield name, ["--shape", shape, *(LARGE_SECTIONS if large else ())]
        elif name != "vllm" or os.environ.get("RUNE_VLLM_PYTHON"):
            yield name, []


def run(name: str, options: list[str]) -> dict[str, Any]:
    """One module's figures."""
    with tempfile.TemporaryDirectory(prefix="rune-bench-") as folder:
        file = Path(folder) / "figures.json"
        module = f"benchmarks.serving.{name}"
        command = [sys.executable, "-m", module, *options, "--json", str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return figures


def judge(name: str, figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """A line for every promise that was measured, and whether it holds."""
    for promise in PROMISES[name]:
        judged = promise.judged(figures)
        if judged is None:
            continue
        value, holds = judged
        limit = f"{'at least' if promise.at_least else 'at most'} {promise.bound:g}"
        yield f"{promise.path} = {value:g} ({limit}){'' if holds else ': DOES NOT HOLD'}", holds


def main() -> None:
    """Run, judge, and exit with 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(PROMISES), default=list(PROMISES))
    parser.add_argument("--shapes", nargs="*", choices=[NANO, LARGE], default=[NANO, LARGE])
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args()
    kept, held = [], True
    for name, arguments in runs(options.only, options.shapes):
        figures = run(name, arguments)
        kept.append({"module": name, "options": arguments, "figures": figures})
        print(f"{name} {' '.join(arguments)}", flush=True)
        for line, holds in judge(name, figures):
            print(f"  {line}", flush=True)
            held = held and holds
        if options.json:
            options.json.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
