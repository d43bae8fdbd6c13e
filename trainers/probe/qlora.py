"""One step of QLoRA (Dettmers et al. 2023), on a base model loaded as a trainer loads it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from rune_engine.models.probing import Check, ProbeJob
from trainers import lora
from trainers.free_memory import free_memory
from trainers.probe import device
from trainers.probe.known_adapter import parameters
from trainers.settings import ALL_LINEAR, DirectSettings

_NAME = "qlora step"
_NF4_BYTES = 0.7
"""Of a weight, with its scales and the layers that stay as they are."""
_WORKING_BYTES = 1024**3


def qlora_step(job: ProbeJob) -> Check:
    """One optimiser step on the configured base model, or on a small random one.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
    """
    on = device.device()
    base: Any = lora.load_base(str(_model_folder(job)), on, "qlora")
    settings = DirectSettings(rank=8, alpha=16.0, target_modules=ALL_LINEAR)
    model: Any = lora.add_adapter(base, settings, job.seed)
    return _step(model, _quantised_layers(base), on, job.seed)


def _step(model: Any, layers: int, on: str, seed: int) -> Check:
    generator = torch.Generator().manual_seed(seed)
    vocabulary = int(model.config.vocab_size)
    ids = torch.randint(0, vocabulary, (2, 32), generator=generator).to(on)
    optimizer = torch.optim.AdamW(lora.trainable(model), lr=1e-3)
    began = time.monotonic()
    before = model(ids, labels=ids).loss
    before.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(lora.trainable(model), 1.0))
    optimizer.step()
    with torch.no_grad():
        after = float(model(ids, labels=ids).loss)
    losses = float(before.detach()), after
    detail = f"{layers} layers in NF4 on {on}, loss {losses[0]:.3f} to {after:.3f}"
    facts: dict[str, float | str] = {
        "quantised_layers": layers,
        "first_loss": losses[0],
        "last_loss": after,
        "gradient_norm": norm,
        "seconds": time.monotonic() - began,
    }
    right = layers > 0 and 0 < norm < float("inf") and after < losses[0]
    step = "" if right else "Update bitsandbytes; until then distill without NF4."
    status = "good" if right else "problem"
    return Check.model_validate(
        {"name": _NAME, "status": status, "detail": detail, "next_step": step, "facts": facts}
    )


def _quantised_layers(model: Any) -> int:
    return sum(type(module).__name__ == "Linear4bit" for module in model.modules())


def _model_folder(job: ProbeJob) -> Path:
    """The configured base model where it is here and has room, else a small random one."""
    if job.base_model_path is not None:
        folder = Path(job.base_model_path)
        needed = parameters(folder) * _NF4_BYTES + _WORKING_BYTES
        if needed <= free_memory(device.device()):
            return folder
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = Path(job.output_path) / "small"
    small = Qwen2Config(
        vocab_size=256,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    Qwen2ForCausalLM(small).save_pretrained(folder)
    return folder
