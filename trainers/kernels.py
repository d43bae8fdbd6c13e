"""The operations of a decoder layer with their gradients written out, for frozen base weights.

What autograd would keep of each is more than its gradient needs, and PEFT copies every input to
float32 and back. Here inputs are kept once, in the weights' own precision, and shared by all that
read them. Tensors are packed: (tokens, features), without padding. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import silu

WeightOf = Callable[[], Tensor]
"""Gives a frozen weight, (out, in); a quantised one is unpacked anew at every call."""


class LoraLinear(Function):
    """x W^T + bias + scale (x A^T) B^T; gradients for x, A and B (Hu et al. 2021)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_of: WeightOf,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
    ) -> Tensor:
        down, up = a.to(x.dtype), (b * scale).to(x.dtype)
        inner = x @ down.T
        y = torch.nn.functional.linear(x, weight_of(), bias)
        ctx.save_for_backward(x, inner, a, b)
        ctx.weight_of, ctx.scale = weight_of, scale
        return y.addmm_(inner, up.T)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, inner, a, b = ctx.saved_tensors
        down, up = a.to(x.dtype), (b * ctx.scale).to(x.dtype)
        grad_inner = grad @ up
        grad_b = (grad.T @ inner).to(b.dtype) * ctx.scale
        grad_a = (grad_inner.T @ x).to(a.dtype)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ ctx.weight_of()).addmm_(grad_inner, down)
        return grad_x, None, None, grad_a, grad_b, None


class FrozenLinear(Function):
    """x W^T + bias with a gradient for x alone; nothing is kept of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_of: WeightOf, bias: Tensor | None) -> Tensor:
        ctx.weight_of = weight_of
        return torch.nn.functional.linear(x, weight_of(), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0] @ ctx.weight_of(), None, None


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
    first, second = x.chunk(2, dim=-1)
    out = torch.empty_like(x)
    half = x.shape[-1] // 2
    out[..., :half] = (first * cos).sub_(second * sin)
    out[..., half:] = (second * cos).add_(first * sin)
    return out
