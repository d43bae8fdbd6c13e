"""The operations of a decoder layer with their gradients written out, for frozen base weights.

What autograd would keep of each is more than its gradient needs, and PEFT copies every input to
float32 and back. Here inputs are kept once, in the weights' own precision, and shared by all that
read them. Tensors are packed: (tokens, features), without padding. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import silu

WeightOf = Callable[[], Tensor]
"""Gives a frozen weight, (out, in); a quantised one is unpacked anew at every call."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A frozen linear layer; its adapter's product is multiplied by `scale`, 0.0 is no adapter."""

    weight_of: WeightOf
    bias: Tensor | None
    scale: float


class Linears(Function):
    """Several linear layers of one input: x W^T + bias + scale (x A^T) B^T (Hu et al. 2021).

    After the layers come A and B of each that has an adapter, in turn. The gradients are for x and
    those; the adapters' inner products are made in one.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layers: Sequence[Linear], *matrices: Tensor
    ) -> tuple[Tensor, ...]:
        downs, ups = _narrowed(x.dtype, layers, matrices)
        ranks = [up.shape[1] for up in ups]
        inner = x @ downs.T if ranks else x.new_empty(len(x), 0)
        inners = iter(zip(torch.split(inner, ranks, dim=1), ups, strict=True) if ranks else ())
        outs = []
        for layer in layers:
            out = torch.nn.functional.linear(x, layer.weight_of(), layer.bias)
            if layer.scale:
                part, up = next(inners)
                out.addmm_(part, up.T)
            outs.append(out)
        # Without an adapter there is no gradient that needs the input.
        ctx.save_for_backward(*((x, inner, *matrices) if ranks else ()))
        ctx.layers, ctx.dtype = layers, x.dtype
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        layers: Sequence[Linear] = ctx.layers
        grad_x = _for_input(grads, layers) if ctx.needs_input_grad[0] else None
        saved = ctx.saved_tensors
        if not saved:
            return grad_x, None
        x, inner, *matrices = saved
        downs, ups = _narrowed(x.dtype, layers, matrices)
        own = [(g, each.scale) for g, each in zip(grads, layers, strict=True) if each.scale]
        grad_inner = torch.cat([g @ up for (g, _), up in zip(own, ups, strict=True)], dim=1)
        if grad_x is not None:
            grad_x.addmm_(grad_inner, downs)
        ranks = [up.shape[1] for up in ups]
        for_downs = torch.split((grad_inner.T @ x).float(), ranks)
        for_ups = (
            (grad.T @ part).float().mul_(scale)
            for (grad, scale), part in zip(own, torch.split(inner, ranks, dim=1), strict=True)
        )
        pairs = zip(for_downs, for_ups, strict=True)
        return grad_x, None, *(grad for pair in pairs for grad in pair)


def _narrowed(
    dtype: torch.dtype, layers: Sequence[Linear], matrices: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """All A, one below the other, and each B with its scale in it, in the precision of the rest."""
    scales = [layer.scale for layer in layers if layer.scale]
    ups = [(b * scale).to(dtype) for b, scale in zip(matrices[1::2], scales, strict=True)]
    downs = list(matrices[::2])
    return torch.cat(downs).to(dtype) if downs else torch.empty(0), ups


def _for_input(grads: Sequence[Tensor], layers: Sequence[Linear]) -> Tensor:
    """The gradient for the input, without the adapters' share."""
    found = grads[0] @ layers[0].weight_of()
    for grad, layer in zip(grads[1:], layers[1:], strict=True):
        found.addmm_(grad, layer.weight_of())
    return found


class RmsNorm(Function):
    """x / rms(x) * weight, in float32 inside (Zhang and Sennrich 2019)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        wide = x.float()
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, inverse, weight)
        return (wide * inverse).mul_(weight.float()).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse, weight = ctx.saved_tensors
        unit = x.float() * inverse
        grad = grads[0] * weight.float()
        along = torch.linalg.vecdot(grad, unit).div_(x.shape[-1]).unsqueeze(-1)
        return grad.sub_(unit.mul_(along)).mul_(inverse).to(x.dtype), None, None, None


class SwiGlu(Function):
    """silu(gate) * up (Shazeer 2020)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_up = silu(gate).mul_(grads[0])
        return torch.ops.aten.silu_backward(grads[0] * up, gate), grad_up


class Rotate(Function):
    """Rotary position embedding of (tokens, heads, features) (Su et al. 2021).

    `cos` and `sin` are (tokens, 1, features / 2), float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _rotated(grads[0], cos, -sin), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, dim=-1)
    turned = (
        (first * cos).addcmul_(second, sin, value=-1.0),
        (second * cos).addcmul_(first, sin),
    )
    return torch.cat(turned, dim=-1).to(x.dtype)
