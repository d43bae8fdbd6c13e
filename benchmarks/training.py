"""How fast adapters are trained, beside TRL's SFTTrainer and Transformers' Trainer.

    python -m benchmarks.training --model rune-nano --steps 60
    python -m benchmarks.training --model qwen-0.5b-shape --steps 6 --repeats 2

Needs the extra `bench`. All sides train on the same tokens from the same first weights, with the
same optimizer, rates, clipping, rank, steps, examples a step and threads, in bfloat16, each in a
process of its own, in turns. The peers run in several settings, and the best counts. What they made
is judged by one evaluation, on what was trained on and on what was not; a loss is compared with
that of the peer which saw the same batches.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.training_data import (
    HALF_BILLION,
    library_examples,
    make_model,
    project_examples,
    write_examples,
)
from trainers.settings import ALL_LINEAR
from trainers.tokens import Example

_GROUPED = {"train_sampling_strategy": "group_by_length", "bf16_weights": True}
_LIBRARY = ("textwrap", "shutil", "statistics", "heapq", "difflib", "tempfile", "calendar", "copy")
_LIBRARY_HELD_OUT = ("base64", "fnmatch")
NEEDED, TOLERANCE = 1.5, 0.05
"""Of the best peer's target tokens a CPU second; nats that losses may be apart."""
SAME_BATCHES = "trl, no padding"
"""It shuffles as Rune does. Grouping by length or packing puts other examples together: after a few
steps their losses differ from any shuffled run's, one way on one set and the other on another."""


def variants(examples: Sequence[Example], batch_size: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Each side's name, and its kind with its flags."""
    mean = sum(len(example.ids) for example in examples) // len(examples)
    longest = max(len(example.ids) for example in examples)
    packing = {"packing": True, "max_length": max(mean * batch_size, longest)}
    return {
        "rune": ("rune", {}),
        "trl, by length": ("trl", _GROUPED),
        "trl, by length, lengths in 32s": ("trl", {**_GROUPED, "pad_to_multiple_of": 32}),
        "trl, no padding": (
            "trl",
            {"padding_free": True, "bf16_weights": True, "max_length": None},
        ),
        "trl, packing": (
            "trl",
            {**packing, "bf16_weights": True, "per_device_train_batch_size": 1},
        ),
        "hf, by length": ("hf", _GROUPED),
        "hf, by length, lengths in 32s": ("hf", {**_GROUPED, "pad_to_multiple_of": 32}),
    }


def run(plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One side in a process of its own; its figures."""
    file = folder / "plan.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_sides", str(file)],
        capture_output=True,
        text=True,
        env=os.environ | quiet,
    )
    if done.returncode:
        raise RuntimeError(f"{plan['side']} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All sides, in turns; the figures of each repeat."""
    training, held_out = _examples(options)
    write_examples(folder / "training.jsonl", training)
    write_examples(folder / "held_out.jsonl", held_out)
    sides = variants(training, options.batch)
    plan = {
        "model": str(make_model(options.model, folder)),
        "data": str(folder / "training.jsonl"),
        "held_out": str(folder / "held_out.jsonl"),
        "steps": options.steps,
        "batch_size": options.batch,
        "rank": options.rank,
        "learning_rate": options.rate,
        "modules": ALL_LINEAR,
        "seed": 0,
        "threads": options.threads,
        "method": "lora",
    }
    large = options.model != "rune-nano"
    judging = {"exact": not large, "examples": 24 if large else len(training)}
    runs: dict[str, list[dict[str, Any]]] = {}
    for repeat in range(options.repeats):
        for name in options.only or sides:
            kind, flags = sides[name]
            own = {**plan, "side": kind, "flags": flags, "out": str(folder / name)}
            found = run(own, folder)
            found["rate"] = found["target_tokens"] / found["cpu_seconds"]
            if repeat == 0:
                found |= run({**own, "side": "evaluate", "flags": judging}, folder)
            runs.setdefault(name, []).append(found)
            print(f"{name}: {json.dumps(found)}", flush=True)
    if options.nf4:
        own = {**plan, "side": "rune", "flags": {}, "out": str(folder / "nf4"), "method": "qlora"}
        runs["rune, NF4"] = [run({**own, "steps": options.nf4}, folder)]
    return runs


def _examples(options: argparse.Namespace) -> tuple[list[Example], list[Example]]:
    if options.data == "library":
        return (
            library_examples(_LIBRARY, options.length),
            library_examples(_LIBRARY_HELD_OUT, options.length),
        )
    return project_examples(range(11, 16), options.length), project_examples([16], options.length)


def report(runs: dict[str, list[dict[str, Any]]], nf4_steps: int) -> str:
    """The table, and what must hold."""
    lines = [
        f"{'':32} {'target tokens':>14} {'CPU s':>8} {'wall s':>8} {'peak':>8} {'loss on':>9} "
        f"{'held':>8}",
        f"{'':32} {'per CPU s':>14} {'':>8} {'':>8} {'MB':>8} {'training':>9} {'out':>8}",
    ]
    rates = {}
    for name, found in runs.items():
        if "rate" in found[0]:
            rates[name] = median(each["rate"] for each in found)
            lines.append(_line(name, rates[name], found))
    if "rune" in rates and len(rates) > 1:
        lines += _verdicts(rates, runs)
    for each in runs.get("rune, NF4", ()):
        lines.append(
            f"NF4 with double quantisation: {each['cpu_seconds'] / nf4_steps:.1f} CPU s a step, "
            f"peak {each['peak_memory_bytes'] / 1e6:.0f} MB"
        )
    return "\n".join(lines)


def _line(name: str, rate: float, found: list[dict[str, Any]]) -> str:
    cpu = median(each["cpu_seconds"] for each in found)
    wall = median(each["wall_seconds"] for each in found)
    peak = max(each["peak_memory_bytes"] for each in found) / 1e6
    first = found[0]
    return (
        f"{name:32} {rate:14.1f} {cpu:8.2f} {wall:8.2f} {peak:8.0f} "
        f"{first['training_loss']:9.4f} {first['held_out_loss']:8.4f}"
    )


def _verdicts(rates: dict[str, float], runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    best = max((name for name in rates if name != "rune"), key=rates.__getitem__)
    ratio = rates["rune"] / rates[best]
    peaks = {name: max(each["peak_memory_bytes"] for each in runs[name]) for name in rates}
    lowest = min(peak for name, peak in peaks.items() if name != "rune")
    lines = [
        f"{_held(ratio >= NEEDED)} {ratio:.2f} times the best peer ({best}); {NEEDED} is needed",
        f"{_held(peaks['rune'] <= lowest)} peak memory {peaks['rune'] / lowest:.2f} times the "
        "lowest of any peer",
    ]
    if SAME_BATCHES in runs:
        apart = max(
            abs(runs["rune"][0][loss] - runs[SAME_BATCHES][0][loss])
            for loss in ("training_loss", "held_out_loss")
        )
        lines.append(
            f"{_held(apart <= TOLERANCE)} losses {apart:.3f} nats apart from {SAME_BATCHES!r}, "
            f"which sees the same batches; at most {TOLERANCE}"
        )
    return lines


def _held(does: bool) -> str:
    return "holds:    " if does else "NOT HELD: "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="rune-nano", help=f"a folder, or {HALF_BILLION}")
    parser.add_argument("--data", choices=("projects", "library"), default="projects")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nf4", type=int, default=0, metavar="STEPS")
    parser.add_argument("--only", nargs="+", help="these sides alone")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rune-bench-") as folder:
        runs = measure(options, Path(folder))
    print(report(runs, options.nf4))
    if options.json:
        options.json.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
