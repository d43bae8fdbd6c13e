"""The network of rune-nano: a small Qwen2 whose first layer starts out looking back.

Qwen2 has biases on its query and key projections. With rotary positions a constant query and a
constant key make an attention score that depends on distance alone, so the biases can be set such
that the heads of the first layer attend to the previous token, the one before, and so on, from the
first step. It is an initialisation, not a change of architecture.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

_SHARPNESS = 6.0
"""Size of the biases: neighbouring distances differ by about five in attention score."""


def make_network(tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """An untrained rune-nano: 6 layers, hidden 256, 4 heads (2 key-value), MLP 768."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.03,
        attn_implementation="sdpa",
    )
    network = Qwen2ForCausalLM(config)
    _look_back(network)
    return network


@torch.no_grad()
def _look_back(network: Qwen2ForCausalLM) -> None:
    """Make query head j of the first layer's first key-value head attend j+1 tokens back."""
    attention = network.model.layers[0].self_attn
    size = attention.head_dim
    frequencies = 1.0 / (10_000.0 ** (torch.arange(0, size, 2).float() / size))
    attention.k_proj.bias[:size] = _SHARPNESS * torch.cat(
        [torch.cos(frequencies), torch.sin(frequencies)]
    )
    for head in range(attention.num_key_value_groups):
        angle = frequencies * head
        attention.q_proj.bias[head * size : (head + 1) * size] = _SHARPNESS * torch.cat(
            [torch.cos(angle), -torch.sin(angle)]
        )
