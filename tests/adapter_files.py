"""Small adapters for tests: real safetensors bytes, made without any library."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

from rune_engine.registry import AdapterDraft, AdapterWeights

RANK = 2
HIDDEN = 8
_MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def safetensors(
    shapes: dict[str, list[int]], *, seed: int = 0, metadata: dict[str, str] | None = None
) -> bytes:
    """A safetensors file of float32 tensors with values that depend on `seed`."""
    header: dict[str, Any] = {"__metadata__": metadata or {"format": "pt"}}
    data, rng = b"", random.Random(seed)
    for name, shape in shapes.items():
        count = shape[0] * shape[1]
        values = struct.pack(f"<{count}f", *(rng.uniform(-1, 1) for _ in range(count)))
        header[name] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(values)],
        }
        data += values
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + data


def lora_config(**changes: Any) -> dict[str, Any]:
    """`adapter_config.json` as PEFT writes it, with its switched-off keys."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "r": RANK,
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj"],
        "bias": "none",
        "modules_to_save": None,
        "use_dora": False,
        "rank_pattern": {},
        "megatron_core": "megatron.core",
        "qalora_group_size": 16,
        "inference_mode": True,
    } | changes


def weights(seed: int = 0, *, hidden: int = HIDDEN, **config: Any) -> AdapterWeights:
    """A valid adapter; the same seed gives the same bytes."""
    shapes = {
        f"{_MODULE}.lora_A.weight": [RANK, hidden],
        f"{_MODULE}.lora_B.weight": [hidden, RANK],
    }
    return AdapterWeights(safetensors(shapes, seed=seed), lora_config(**config))


def draft(**changes: Any) -> AdapterDraft:
    """An adapter's metadata."""
    values = {
        "project_id": "alpha",
        "base_model_id": "tiny",
        "session_id": "session-1",
        "source": "manual",
    } | changes
    return AdapterDraft(**values)
