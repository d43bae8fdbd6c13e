"""Small random networks with an adapter that changes something, and examples for them."""

from __future__ import annotations

import random
from typing import Any

import torch
import transformers

from trainers import lora
from trainers.settings import DirectSettings
from trainers.tokens import IGNORED, Example

VOCABULARY = 160
LENGTHS = (2, 33, 64, 301, 31)
"""One is attended for in two blocks, two together, one has but one target."""


def network(kind: str) -> Any:
    torch.manual_seed(0)
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.2,
    }
    config = transformers.AutoConfig.for_model(kind, **settings, head_dim=8)
    config._attn_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(config).requires_grad_(False)


def adapted(kind: str, modules: list[str], method: Any = "lora", dropout: float = 0.0) -> Any:
    """A network with an adapter that changes something."""
    settings = DirectSettings(rank=4, target_modules=modules, dropout=dropout)
    model = lora.add_adapter(network(kind), settings, 0, method)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
        if "lora_magnitude_vector" in name:
            parameter.data *= 1.0 + 0.2 * torch.rand_like(parameter)
    return model


def examples(lengths: tuple[int, ...] = LENGTHS) -> list[Example]:
    chance = random.Random(0)
    made = []
    for length in lengths:
        ids = [chance.randrange(VOCABULARY) for _ in range(length)]
        made.append(Example(ids, [IGNORED] * (length // 2) + ids[length // 2 :]))
    return made
