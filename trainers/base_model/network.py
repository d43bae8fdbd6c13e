"""The network of rune-nano: a small Qwen2 whose layers start out looking back.

Qwen2 has biases on its query and key projections. With rotary positions a constant query and a
constant key make an attention score that depends on distance alone, so the biases can be set such
that a head attends to the previous token, or to those around the fifth before, from the first step.
In the first layer that makes copying easy to learn; in the next ones, looking up what a line of
several words stood above: a head brings the line together, another hands it on by one token. It is
an initialisation, not a change of architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from trainers.base_model.tokenizer import CONTEXT

_SHARPNESS = 6.0
"""Size of the biases: neighbouring distances differ by about five in attention score."""
_PREVIOUS, _ONE_BEFORE, _LINE_BEFORE = (1, 1.0), (2, 1.0), (5, 1 / 6)
"""How many tokens back a head looks, and how sharply: the last one takes in some five tokens."""
_LOOKING = {0: (_PREVIOUS, _ONE_BEFORE)} | dict.fromkeys(range(1, 5), (_PREVIOUS, _LINE_BEFORE))
"""By layer, the first key-value head's query heads."""


def make_network(tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """An untrained rune-nano: 6 layers, hidden 256, 4 heads (2 key-value), MLP 768."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.03,
        attn_implementation="sdpa",
    )
    network = Qwen2ForCausalLM(config)
    for number, looks in _LOOKING.items():
        _look_back(network.model.layers[number].self_attn, looks)
    return network


@torch.no_grad()
def _look_back(attention: Any, looks: Sequence[tuple[int, float]]) -> None:
    """Make the first key-value head's query heads attend that many tokens back, that sharply."""
    size = attention.head_dim
    frequencies = 1.0 / (10_000.0 ** (torch.arange(0, size, 2).float() / size))
    attention.k_proj.bias[:size] = _SHARPNESS * _turned(frequencies)
    for head, (back, sharpness) in enumerate(looks):
        query = _turned(-frequencies * (back - 1))
        attention.q_proj.bias[head * size : (head + 1) * size] = _SHARPNESS * sharpness * query


def _turned(angles: torch.Tensor) -> torch.Tensor:
    """A vector turned by these angles, as rotary positions turn it."""
    return torch.cat([torch.cos(angles), torch.sin(angles)])
