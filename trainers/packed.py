"""Networks of the Llama family, run over packed sequences with the modules Transformers loaded.

Sequences lie end to end, so that nothing is computed for padding; the last layer's second half is
computed only where there is a target. Equal to Transformers' own forward pass up to rounding, which
tests hold. Networks that are not of a known kind take Transformers' way: see `steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from base_models.identity import FAMILY
from trainers.attention import Attention, Group, groups_of
from trainers.kernels import Linear, Linears, RmsNorm, Rotate, SwiGlu, WeightOf
from trainers.tokens import IGNORED, Example, round_up

_TOKEN_STEP = 128
"""Counts of tokens are rounded up: a processor's matrix library compiles a kernel for every new
shape, which costs ten times the product itself in a small network."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Sequences end to end, filled up with tokens that nothing reads.

    `ids` and `positions` are (tokens,). `wanted` are the positions whose next token is a target,
    rounded up in number with the first position; `labels` are those targets alone.
    """

    ids: Tensor
    positions: Tensor
    groups: list[Group]
    wanted: Tensor
    labels: Tensor

    @property
    def targets(self) -> int:
        return len(self.labels)


def pack(examples: Sequence[Example], pad_id: int) -> Pack:
    """Lay examples end to end."""
    ids = torch.tensor([token for example in examples for token in example.ids])
    labels = torch.tensor([label for example in examples for label in example.labels])
    groups, total = groups_of([len(example.ids) for example in examples])
    positions = torch.cat([torch.arange(len(example.ids)) for example in examples])
    # No sequence's first token is a target: nothing before it is its own.
    targets = ((labels != IGNORED) & (positions > 0)).nonzero().squeeze(1)
    end = round_up(total, _TOKEN_STEP)
    return Pack(
        ids=pad(ids, (0, end - len(ids)), value=pad_id),
        positions=pad(positions, (0, end - len(ids))),
        groups=groups,
        wanted=pad(targets - 1, (0, -len(targets) % _TOKEN_STEP)),
        labels=labels[targets],
    )


def is_known(network: Any) -> bool:
    """Whether `target_states` can run this network."""
    config = network.config
    sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    rotated = (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor", 1.0)
    return (
        config.model_type in FAMILY
        and config.hidden_act == "silu"
        and not config.attention_dropout
        and not sliding
        and rotated == 1.0
        and (config.model_type != "mistral" or config.sliding_window is None)
    )


def target_states(network: Any, batch: Pack, *, checkpointed: bool = False) -> Tensor:
    """The last hidden states where a target follows, (targets, hidden).

    Args:
        checkpointed: keep only the layers' inputs, and compute the rest again for the gradient.
    """
    decoder = network.model
    states = decoder.embed_tokens(batch.ids)
    dtype = states.dtype
    states = states.float()
    cos, sin = decoder.rotary_emb(states, batch.positions.unsqueeze(0))
    half = cos.shape[-1] // 2
    rotation = (cos[0, :, None, :half].contiguous(), sin[0, :, None, :half].contiguous())
    last = len(decoder.layers) - 1
    for number, layer in enumerate(decoder.layers):
        rows = batch.wanted if number == last else None
        run = partial(_layer, layer, rotation=rotation, batch=batch, rows=rows, dtype=dtype)
        if checkpointed and torch.is_grad_enabled():
            states = checkpoint(run, states, use_reentrant=False)
        else:
            states = run(states)
    return _norm(decoder.norm, states, dtype)[: batch.targets]


def _layer(
    layer: Any,
    states: Tensor,
    *,
    rotation: tuple[Tensor, Tensor],
    batch: Pack,
    rows: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """One decoder layer; with `rows`, what comes after attention is for those tokens alone."""
    attention = layer.self_attn
    inputs = _norm(layer.input_layernorm, states, dtype)
    made = _linears(inputs, attention.q_proj, attention.k_proj, attention.v_proj)
    q, k, v = (each.view(len(inputs), -1, attention.head_dim) for each in made)
    if hasattr(attention, "q_norm"):
        q, k = _norm(attention.q_norm, q, dtype), _norm(attention.k_norm, k, dtype)
    q, k = _apply(Rotate, q, *rotation), _apply(Rotate, k, *rotation)
    attended = _apply(Attention, q, k, v, batch.groups, attention.scaling).flatten(1)
    if rows is not None:
        attended, states = attended[rows], states[rows]
    states = states + _linears(attended, attention.o_proj)[0]
    inputs = _norm(layer.post_attention_layernorm, states, dtype)
    mlp = layer.mlp
    gated = _apply(SwiGlu, *_linears(inputs, mlp.gate_proj, mlp.up_proj))
    return states + _linears(gated, mlp.down_proj)[0]


def _norm(module: Any, states: Tensor, dtype: torch.dtype) -> Tensor:
    return _apply(RmsNorm, states, module.weight, module.variance_epsilon, dtype)


def _linears(inputs: Tensor, *modules: Any) -> tuple[Tensor, ...]:
    """Linear layers of one input, with their adapters; frozen apart from those."""
    if any(_has_dropout(module) for module in modules):
        return tuple(module(inputs).to(inputs.dtype) for module in modules)
    layers, matrices = [], []
    for module in modules:
        base, name = module, None
        if hasattr(module, "lora_A"):
            [name] = module.active_adapters
            base = module.get_base_layer()
            matrices += [module.lora_A[name].weight, module.lora_B[name].weight]
        scale = 0.0 if name is None else float(module.scaling[name])
        bias = None if _magnitude(module) is not None else base.bias
        layers.append(Linear(weight_of(base), bias, scale))
    made: tuple[Tensor, ...] = _function(Linears)(inputs, layers, *matrices)
    return tuple(_rescaled(out, module) for out, module in zip(made, modules, strict=True))


def _has_dropout(module: Any) -> bool:
    return any(not isinstance(d, nn.Identity) for d in getattr(module, "lora_dropout", {}).values())


def _magnitude(module: Any) -> Any:
    """DoRA's magnitudes of this layer; None for any other."""
    vectors = getattr(module, "lora_magnitude_vector", None)
    return vectors[module.active_adapters[0]].weight if vectors else None


def _rescaled(out: Tensor, module: Any) -> Tensor:
    """With DoRA, the rows of the turned weight are brought to its magnitudes."""
    magnitude = _magnitude(module)
    if magnitude is None:
        return out
    [name] = module.active_adapters
    a, b, base = module.lora_A[name].weight, module.lora_B[name].weight, module.get_base_layer()
    norms = turned_norms(weight_of(base)(), a, b, float(module.scaling[name]))
    # In float32: a factor near 1 would lose what it says.
    rescaled: Tensor = out * (magnitude / norms)
    return (rescaled if base.bias is None else rescaled + base.bias).to(out.dtype)


@torch.no_grad()
def turned_norms(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Norms of the rows of W + scale B A, (out,) float32, without forming the sum.

    DoRA (Liu et al. 2024, section 4.3) takes them for constants in the gradient.
    """
    across = (weight @ a.to(weight.dtype).T).float()
    update = scale**2 * ((b @ (a @ a.T)) * b).sum(1)
    squares = torch.linalg.vector_norm(weight, dim=1, dtype=torch.float32).square()
    norms: Tensor = (squares + 2 * scale * (across * b).sum(1) + update).clamp(min=1e-12).sqrt()
    return norms


def weight_of(module: Any) -> WeightOf:
    """Gives the frozen weight of a linear layer, unpacked when it is quantised."""
    weight = module.weight
    if getattr(weight, "quant_state", None) is None:
        return lambda: weight
    from bitsandbytes.functional import dequantize_4bit

    return lambda: dequantize_4bit(weight.data, weight.quant_state)


def _apply(function: Any, *inputs: Any) -> Tensor:
    found: Tensor = _function(function)(*inputs)
    return found


def _function(function: Any) -> Callable[..., Any]:
    run: Callable[..., Any] = function.apply
    return run
