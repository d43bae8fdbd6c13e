"""Making, measuring and saving one LoRA adapter with PEFT, which is imported as it is needed."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rune_engine.extras import require
from rune_engine.models import AdapterMethod
from trainers import packed
from trainers.lean_peft import without_4_bits
from trainers.precision import computed_in
from trainers.settings import QUANTISED, SMALL, DirectSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def load_base(path: str, device: str, method: AdapterMethod = "lora") -> PreTrainedModel:
    """The frozen base model, as precise as is fast here, or in 4-bit NormalFloat, scales too.

    Raises:
        MissingExtraError: `method` needs bitsandbytes, which is not installed.
    """
    from transformers import AutoModelForCausalLM

    quantised = method in QUANTISED
    dtype = computed_in(device, SMALL, packs=True)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation="sdpa",
        **_quantised(device, dtype) if quantised else {},
    )
    model.requires_grad_(False)
    if quantised:
        return model
    if dtype != computed_in(device, model.num_parameters(), packs=packed.is_known(model)):
        model = model.float()
    return model.to(device)


def _quantised(device: str, dtype: torch.dtype) -> dict[str, Any]:
    """How Transformers is told to quantise while it loads (Dettmers et al. 2023)."""
    from transformers import BitsAndBytesConfig

    require("qlora", "Training on a quantised base model")
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def add_adapter(
    model: PreTrainedModel, settings: DirectSettings, seed: int, method: AdapterMethod = "lora"
) -> PeftModel:
    """`model` with a fresh adapter, whose weights are float32 and start at no change."""
    with nullcontext() if method in QUANTISED else without_4_bits():
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(seed)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=settings.target_modules,
            bias="none",
            task_type="CAUSAL_LM",
            use_dora=method == "qdora",
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
    """Frobenius norm of the whole update, over all modules."""
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    return math.sqrt(sum(_squared_update(layer, name) for layer in layers for name in layer.lora_A))


def _squared_update(layer: Any, name: str) -> float:
    """||scale * B A||^2, as the trace of (B^T B)(A A^T): the product is never formed.

    DoRA (Liu et al. 2024) rescales the rows of the whole weight: there the product is formed.
    """
    a, b = layer.lora_A[name].weight.float(), layer.lora_B[name].weight.float()
    scale = layer.scaling[name]
    if name not in layer.lora_magnitude_vector:
        return float(scale**2 * ((b.T @ b) * (a @ a.T)).sum())
    weight = packed.weight_of(layer.get_base_layer())().float()
    turned = weight + scale * (b @ a)
    magnitude = layer.lora_magnitude_vector[name].weight.float()
    rescaled = turned * (magnitude / turned.norm(dim=1)).unsqueeze(1)
    return float((rescaled - weight).square().sum())


def save_adapter(model: PeftModel, folder: Path, base_model_id: str) -> None:
    """Write `adapter_model.safetensors` and a canonical `adapter_config.json` into `folder`."""
    model.peft_config["default"].base_model_name_or_path = base_model_id
    model.peft_config["default"].inference_mode = True
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)
    _make_canonical(folder / "adapter_config.json")


def _make_canonical(config_file: Path) -> None:
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
