"""Base models of random weights at the shapes people use, and adapters for them.

They know nothing, which is enough: what is measured is time, and that the right bytes answer.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import base_models
from rune_engine.inference.provider import AdapterRef

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NANO = "rune-nano"
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-coder-0.5b": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    }
}


def make_base(shape: str, folder: Path) -> Path:
    """A model folder: rune-nano itself, or random weights of `shape` with rune-nano's tokenizer."""
    nano = base_models.describe(NANO).path
    if shape == NANO:
        return nano
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(nano / name, folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        **SHAPES[shape],
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.set_default_dtype(torch.bfloat16)
    model = Qwen2ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    return folder


def make_adapter(base: Path, folder: Path, seed: int, rank: int = 8) -> AdapterRef:
    """A LoRA of random weights on every linear layer of a Qwen2 in `base`, as PEFT saves it."""
    import torch
    from safetensors.torch import save_file

    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (inputs, outputs) in _layers(config).items():
        for side, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            values = torch.randn(shape, generator=random, dtype=torch.float32) * 0.05
            tensors[f"base_model.model.{name}.lora_{side}.weight"] = values
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank}
    settings |= {"target_modules": list(ALL_LINEAR), "base_model_name_or_path": str(base)}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "adapter_model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return AdapterRef(f"adapter-{seed}", folder, digest, base.name)


def _layers(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each linear layer."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    narrow = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    sizes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden, narrow),
        "self_attn.v_proj": (hidden, narrow),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
    return {
        f"model.layers.{number}.{name}": size
        for number in range(config["num_hidden_layers"])
        for name, size in sizes.items()
    }
