"""LoRA updates as arrays: read, measured, made at random, added up, written. No torch.

An update of a module is `b @ a`, float32, with the adapter's scaling in `b`. The products are never
formed: norms and cosines follow from the small matrices.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from rune_engine.durable import write_file
from rune_engine.errors import AdapterCorruptedError
from rune_engine.inference.adapter_files import CONFIG, WEIGHTS, AdapterFile, AdapterReader
from rune_engine.inference.provider import AdapterRef
from rune_engine.tensor_files import Matrix

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Factors:
    """An update `b @ a` of one module: [out, rank] and [rank, in]."""

    a: Array
    b: Array

    @property
    def norm(self) -> float:
        """Frobenius norm of the product."""
        return math.sqrt(max(0.0, product(self, self)))


Update = Mapping[str, Factors]
"""By the module's path within the base model."""


def product(one: Factors, other: Factors) -> float:
    """The sum of the elementwise product of two updates: tr((b2^T b1)(a1 a2^T))."""
    left = other.b.astype(np.float64).T @ one.b.astype(np.float64)
    right = one.a.astype(np.float64) @ other.a.astype(np.float64).T
    return float((left * right.T).sum())


def norm(update: Update) -> float:
    """Frobenius norm over all modules."""
    return math.sqrt(sum(factors.norm**2 for factors in update.values()))


def cosine(one: Update, other: Update) -> float:
    """Cosine similarity over all modules, those that one of them leaves alone included.

    It is 0 where one of them changes nothing.
    """
    lengths = norm(one) * norm(other)
    shared = sum(product(one[name], other[name]) for name in one.keys() & other.keys())
    return shared / lengths if lengths > 0 else 0.0


def read(adapter: AdapterRef) -> dict[str, Factors]:
    """An adapter's update.

    Raises:
        AdapterCorruptedError: it may not be loaded, or is a DoRA, whose update no product says.
    """
    file = AdapterReader().read(adapter)
    if file.settings.use_dora:
        raise AdapterCorruptedError(
            f"Adapter {adapter.id} is a DoRA: its update depends on the base model's weights.",
            next_step="Compare adapters made by another method.",
        )
    return {
        name: Factors(_array(file, pair.a), _array(file, pair.b) * np.float32(pair.scaling))
        for name, pair in file.pairs.items()
    }


def _array(file: AdapterFile, matrix: Matrix) -> Array:
    raw = memoryview(file.data)[matrix.start : matrix.stop]
    if matrix.dtype == "BF16":
        wide = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(matrix.shape)
    kind = "<f4" if matrix.dtype == "F32" else "<f2"
    return np.frombuffer(raw, dtype=kind).astype(np.float32).reshape(matrix.shape)


def random_like(update: Update, seed: int) -> dict[str, Factors]:
    """Gaussian matrices of the same shapes, each product as long as the update's own."""
    generator = np.random.default_rng(seed)
    made = {}
    for name, factors in sorted(update.items()):
        drawn = Factors(
            generator.standard_normal(factors.a.shape).astype(np.float32),
            generator.standard_normal(factors.b.shape).astype(np.float32),
        )
        made[name] = Factors(drawn.a, drawn.b * np.float32(factors.norm / drawn.norm))
    return made


def added(updates: Sequence[Update]) -> dict[str, Factors]:
    """The sum of the updates: their matrices side by side, so nothing is cut off.

    Raises:
        ValueError: they are of different modules.
    """
    if any(update.keys() != updates[0].keys() for update in updates):
        raise ValueError("These updates are of different modules.")
    return {
        name: Factors(
            np.concatenate([update[name].a for update in updates]),
            np.concatenate([update[name].b for update in updates], axis=1),
        )
        for name in updates[0]
    }


def write(update: Update, folder: Path, adapter_id: str, base_model_id: str) -> AdapterRef:
    """Write a standard PEFT adapter, float32; what lay there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, factors in sorted(update.items()):
        tensors[f"base_model.model.{name}.lora_A.weight"] = np.ascontiguousarray(factors.a)
        tensors[f"base_model.model.{name}.lora_B.weight"] = np.ascontiguousarray(factors.b)
    ranks = {name: len(factors.a) for name, factors in update.items()}
    most = max(ranks.values())
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model_id,
        "inference_mode": True,
        "r": most,
        "lora_alpha": most,
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != most},
        "alpha_pattern": {name: rank for name, rank in ranks.items() if rank != most},
        "target_modules": sorted(update),
        "bias": "none",
    }
    data = save(tensors, {"format": "pt"})
    write_file(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True))
    fresh = folder / f".{WEIGHTS}.new"
    fresh.write_bytes(data)
    fresh.replace(folder / WEIGHTS)
    return AdapterRef(adapter_id, folder, hashlib.sha256(data).hexdigest(), base_model_id)
