"""What finding secrets costs, what it finds of planted ones, and what it alters of clean code.

    python -m benchmarks.redaction --human-eval HumanEval.jsonl.gz --json redaction.json

Clean code is Rune's own packages, Python's standard library with and without its tests (which hold
thousands of checksums, certificates and example passwords), and HumanEval where it is given. An
altered line is one that redaction changes in any way. The cost is the least of five rounds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.planted_secrets import all_kinds
from benchmarks.registry import typical_trajectory
from rune_engine.privacy import redact
from rune_engine.trajectories.redaction import redact_draft

ROOT = Path(__file__).parents[1]
PACKAGES = ("rune_engine", "rune_mcp", "trainers", "prompts", "project_worlds", "base_models")
ROUNDS = 5
SEEDS = 50


def altered_lines(before: str, after: str) -> int:
    """How many lines of `before` are not in `after`."""
    kept = set(after.split("\n"))
    return sum(line not in kept for line in before.split("\n"))


def measure_clean(texts: list[str]) -> dict[str, Any]:
    """The cost on clean texts, and the share of their lines that is altered."""
    lines = sum(text.count("\n") + 1 for text in texts)
    least = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        cleaned = [redact(text) for text in texts]
        least = min(least, time.perf_counter() - started)
    altered = sum(altered_lines(a, b.text) for a, b in zip(texts, cleaned, strict=True))
    return {
        "lines": lines,
        "ms_per_1000_lines": least * 1e6 / lines,
        "altered_lines": altered,
        "altered_share": altered / lines,
    }


def measure_planted(seeds: int) -> dict[str, Any]:
    """How many planted secrets are left, over many seeds of 200."""
    planted = [one for seed in range(seeds) for one in all_kinds(seed)]
    left = sum(any(needle in redact(one.text).text for needle in one.needles) for one in planted)
    kinds = len({one.kind for one in planted})
    return {"planted": len(planted), "kinds": kinds, "left": left}


def measure_trajectory() -> dict[str, float]:
    """The cost of redacting a typical trajectory, in milliseconds."""
    taken = []
    for number in range(200):
        draft = typical_trajectory(number)
        started = time.perf_counter()
        redact_draft(draft)
        taken.append(time.perf_counter() - started)
    return {"p50_ms": sorted(taken)[len(taken) // 2] * 1e3, "least_ms": min(taken) * 1e3}


def read(paths: Iterable[Path]) -> list[str]:
    """The texts of the files that are UTF-8."""
    texts = []
    for path in sorted(paths):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue
    return texts


def clean_sources(human_eval: Path | None) -> dict[str, list[str]]:
    """The clean texts, by what they are."""
    library = Path(sysconfig.get_path("stdlib"))
    found = [path for path in library.rglob("*.py") if "site-packages" not in path.parts]
    tests = [path for path in found if {"test", "tests", "idle_test"} & set(path.parts)]
    sources = {
        "rune": read(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")),
        "standard library": read(set(found) - set(tests)),
        "standard library's tests": read(tests),
    }
    if human_eval is not None:
        with gzip.open(human_eval, "rt", encoding="utf-8") as lines:
            tasks = [json.loads(line) for line in lines]
        sources["HumanEval"] = [t["prompt"] + t["canonical_solution"] + t["test"] for t in tasks]
    return sources


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--human-eval", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures: dict[str, Any] = {
        name: measure_clean(texts) for name, texts in clean_sources(given.human_eval).items()
    }
    figures["trajectory"] = measure_trajectory()
    figures["planted"] = measure_planted(given.seeds)
    for name, figure in figures.items():
        print(name, {key: round(value, 5) for key, value in figure.items()})
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
