"""A base model's weights as they are loaded: how precise, on what device, with how much context.

Runs in the worker process only; knows torch and Transformers, nothing of adapters or requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rune_engine.hardware import has_fast_bfloat16

_SMALL_MODEL_PARAMETERS = 100_000_000


def load_weights(folder: Path, precision: str) -> Any:
    """The model in evaluation mode, on the accelerator where there is one.

    Args:
        folder: a base model that Transformers loads.
        precision: auto, float32, bfloat16 or nf4 (bitsandbytes' 4-bit, quantised twice).
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings: dict[str, Any] = {"dtype": compute_dtype(folder, precision, device)}
    if precision == "nf4":
        settings |= {"quantization_config": _nf4(settings["dtype"]), "device_map": device}
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        attn_implementation="sdpa",
        local_files_only=True,
        use_safetensors=True,
        **settings,
    )
    return (model if precision == "nf4" else model.to(device)).eval()


def compute_dtype(folder: Path, precision: str, device: str) -> torch.dtype:
    """What is computed in; auto is float32 for a small model on a processor and wherever a
    processor imitates bfloat16, half the bytes else."""
    if precision == "float32":
        return torch.float32
    if device == "cpu" and precision != "bfloat16" and not has_fast_bfloat16():
        return torch.float32
    if precision == "auto" and device == "cpu" and _parameters(folder) < _SMALL_MODEL_PARAMETERS:
        return torch.float32
    return torch.bfloat16


def context_of(model: Any, most: int | None) -> int:
    """Tokens of context: the model's own, or fewer where fewer are wanted."""
    own: int = model.config.max_position_embeddings
    return min(own, most or own)


def _parameters(folder: Path) -> int:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        count: int = AutoModelForCausalLM.from_config(config).num_parameters()
    return count


def _nf4(dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
