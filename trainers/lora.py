"""Making, measuring and saving one LoRA adapter with PEFT."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, PreTrainedModel

from trainers.settings import DirectSettings

_SMALL = 100_000_000
"""Below this many parameters a base model is kept in float32 on a CPU: it costs nothing."""


def load_base(path: str, device: str) -> PreTrainedModel:
    """The frozen base model: bfloat16 weights, or float32 for a small model on a CPU."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.bfloat16, local_files_only=True, attn_implementation="sdpa"
    )
    if device == "cpu" and sum(p.numel() for p in model.parameters()) < _SMALL:
        model = model.float()
    model.requires_grad_(False)
    return model.to(device)


def add_adapter(model: PreTrainedModel, settings: DirectSettings, seed: int) -> PeftModel:
    """`model` with a fresh adapter, whose weights are float32 and start at no change."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        bias="none",
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(model, config)
    for parameter in trainable(wrapped):
        parameter.data = parameter.data.float()
    return wrapped


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The adapter's own parameters."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@torch.no_grad()
def delta_w_norm(model: PeftModel) -> float:
    """Frobenius norm of the whole update, sqrt(sum over modules of ||scale * B A||^2).

    ||B A||^2 is the trace of (B^T B)(A A^T): two r by r matrices, the product is never formed.
    """
    total = 0.0
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for name, down in module.lora_A.items():
                a, b = down.weight.float(), module.lora_B[name].weight.float()
                total += float(module.scaling[name] ** 2 * ((b.T @ b) * (a @ a.T)).sum())
    return math.sqrt(total)


def save_adapter(model: PeftModel, folder: Path, base_model_id: str) -> None:
    """Write `adapter_model.safetensors` and a canonical `adapter_config.json` into `folder`."""
    model.peft_config["default"].base_model_name_or_path = base_model_id
    model.peft_config["default"].inference_mode = True
    model.save_pretrained(str(folder), safe_serialization=True)
    config_file = folder / "adapter_config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)
