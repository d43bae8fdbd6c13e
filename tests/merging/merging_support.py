"""Adapters to merge: updates in memory, and folders as PEFT writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from rune_engine.models.merging import AdapterFolder, MergeJob
from trainers.closed_form.statistics import LowRank
from trainers.merging.adapters import Adapter

SHAPES = {
    "model.layers.0.self_attn.q_proj": (24, 20),
    "model.layers.0.mlp.down_proj": (20, 40),
    "model.layers.1.mlp.down_proj": (20, 40),
}
TARGETS = ("down_proj", "q_proj")


def update(shape: tuple[int, int], rank: int, seed: int) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    outputs, inputs = shape
    return LowRank(
        torch.randn(outputs, rank, generator=generator),
        torch.randn(rank, inputs, generator=generator),
    )


def adapter(name: str, rank: int, seed: int, **changes: Any) -> Adapter:
    shapes = changes.pop("shapes", SHAPES)
    updates = {
        m: update(shape, rank, 100 * seed + n) for n, (m, shape) in enumerate(shapes.items())
    }
    return Adapter(name, changes.pop("base", "tiny"), changes.pop("targets", TARGETS), updates)


def dense(found: LowRank) -> Tensor:
    return found.b.double() @ found.a.double()


def off(found: Tensor, wanted: Tensor) -> float:
    """The relative difference, in the Frobenius norm."""
    return float((found - wanted).norm() / wanted.norm())


def write(folder: Path, name: str, seed: int, **changes: Any) -> AdapterFolder:
    """A folder as PEFT writes it.

    Args:
        changes: of the configuration; `shapes` are of the modules.
    """
    shapes: Mapping[str, tuple[int, int]] = changes.pop("shapes", SHAPES)
    base = changes.pop("base", "tiny")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": 4,
        "lora_alpha": 8,
        "target_modules": list(TARGETS),
        "bias": "none",
        "inference_mode": True,
        **changes,
    }
    tensors = {}
    for number, (module, shape) in enumerate(shapes.items()):
        rank = config.get("rank_pattern", {}).get(module.rsplit(".", 1)[-1], config["r"])
        made = update(shape, rank, 100 * seed + number)
        tensors[f"base_model.model.{module}.lora_A.weight"] = made.a
        tensors[f"base_model.model.{module}.lora_B.weight"] = made.b
        if config.get("use_dora"):
            name_of = f"base_model.model.{module}.lora_magnitude_vector"
            tensors[name_of] = torch.ones(shape[0])
    path = folder / name
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, path / "adapter_model.safetensors", {"format": "pt"})
    return AdapterFolder(id=name, path=str(path), base_model_id=base)


def job(folder: Path, *parents: AdapterFolder, **changes: Any) -> MergeJob:
    given = {
        "job_id": "j1",
        "adapter_id": "merged",
        "parents": list(parents),
        "method": "linear",
        "output_path": str(folder / "out"),
    }
    return MergeJob.model_validate({**given, **changes})


def silent(_done: float, _what: str) -> None: ...
