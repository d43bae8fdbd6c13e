"""Directly trained adapters of the projects that hypernetworks are taught and judged by.

    python -m trainers.hypernetwork.adapters --base rune-nano --out runs/direct --count 16

Each is on the same projection as a hypernetwork's, so that one can be held to the other; the rest
of its settings is the base model's recommendation. One that lies there is not trained again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import get_args

from safetensors.torch import load_file

import base_models
from project_worlds.names import Split
from rune_engine.models import TrainerJob
from trainers.closed_form.base_files import shape_of
from trainers.closed_form.statistics import LowRank
from trainers.direct import distill_with
from trainers.hypernetwork.lessons import Scheme, trajectories_of, world_of
from trainers.hypernetwork.plan import FIRST_SEED
from trainers.settings import resolve


def direct_update(folder: Path, split: Split, seed: int, target: str) -> LowRank | None:
    """The update of a project's directly trained adapter; None where there is none.

    Raises:
        ValueError: the adapter updates something else than `target`.
    """
    adapter = folder / f"{split}-{seed}"
    if not (adapter / "adapter_config.json").is_file():
        return None
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = f"base_model.model.model.{target}.lora_"
    if set(tensors) != {f"{name}A.weight", f"{name}B.weight"}:
        raise ValueError(f"{adapter} is not an adapter of {target} alone")
    scale = float(config["lora_alpha"]) / float(config["r"])
    return LowRank(scale * tensors[f"{name}B.weight"].float(), tensors[f"{name}A.weight"].float())


def train_direct(base: base_models.BaseModelFolder, out: Path, split: Split, seed: int) -> float:
    """Train one project's adapter, if it is not there; the seconds that took.

    Raises:
        TrainingError, DeviceMemoryError: see `trainers.direct.distill`.
    """
    folder = out / f"{split}-{seed}"
    if (folder / "adapter_config.json").is_file():
        return 0.0
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        made, lines = Path(scratch, "adapter"), Path(scratch, "trajectories.jsonl")
        made.mkdir()
        project, recorded, _ = world_of(seed, split, Scheme())
        told = (each.model_dump_json() for each in trajectories_of(project, recorded))
        lines.write_text("\n".join(told), encoding="utf-8")
        job = TrainerJob(
            job_id=f"{split}-{seed}",
            method="lora",
            project_id=project.name,
            base_model_id=base.id,
            base_model_path=str(base.path),
            trajectories_path=str(lines),
            output_path=str(made),
        )
        target = shape_of(base.path).target
        settings = resolve(job).model_copy(update={"target_modules": [target]})
        result = distill_with(settings, job, lambda _done, _what: None)
        made.replace(folder)
    return result.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", required=True, help="a base model's name or folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=get_args(Split), default="meta_training")
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    base = base_models.describe(options.base)
    for seed in range(options.first, options.first + options.count):
        seconds = train_direct(base, options.out, options.split, seed)
        print(json.dumps({"seed": seed, "seconds": round(seconds, 2)}), flush=True)


if __name__ == "__main__":
    main()
