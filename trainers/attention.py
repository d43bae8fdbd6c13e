"""Causal attention over packed sequences, with its gradient written out.

PyTorch's own for processors spends most of its time in the gradient; here both ways are batched
matrix products. The probabilities are computed again for the gradient, not kept. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_ROWS = 256
"""Queries attended for at once: a longer sequence is cut, and what lies ahead is not read."""


@dataclass(frozen=True, slots=True)
class Span:
    """One sequence among the packed tokens, and how far it is read.

    `reach` is the length rounded up, for the sake of few shapes: what lies between is other
    tokens, which causality and a cut keep out of it.
    """

    start: int
    length: int
    reach: int


class Attention(Function):
    """softmax(scale q k^T) v within each sequence.

    Queries are (tokens, heads, features), keys and values (tokens, key heads, features).
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, spans: Sequence[Span], scale: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.spans, ctx.scale = spans, scale
        out = torch.zeros_like(q)
        for span in spans:
            queries, keys, values = (_taken(tensor, span, k.shape[1]) for tensor in (q, k, v))
            found = torch.empty_like(queries)
            for rows in _row_blocks(span.reach):
                weights = _weights(queries, keys, rows, scale)
                found[:, :, rows] = _like(weights @ values[:, 0, : rows.stop], queries, rows)
            _put(out, span, found)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        outs = [torch.zeros_like(tensor) for tensor in (q, k, v)]
        for span in ctx.spans:
            queries, keys, values, grad = (
                _taken(tensor, span, k.shape[1]) for tensor in (q, k, v, grads[0])
            )
            grad[:, :, span.length :] = 0.0
            made = _gradients(queries, keys, values, grad, ctx.scale)
            for out, found in zip(outs, made, strict=True):
                _put(out, span, found)
        return *outs, None, None


def _gradients(
    queries: Tensor, keys: Tensor, values: Tensor, grad: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for queries, keys and values, from that for the result."""
    for_queries = torch.empty_like(queries)
    for_keys, for_values = torch.zeros_like(keys), torch.zeros_like(values)
    for rows in _row_blocks(queries.shape[2]):
        weights = _weights(queries, keys, rows, scale)
        block = grad[:, :, rows].flatten(1, 2)
        for_values[:, 0, : rows.stop] += weights.transpose(1, 2) @ block
        slope = (block @ values[:, 0, : rows.stop].transpose(1, 2)).float()
        along = torch.linalg.vecdot(slope, weights.float()).unsqueeze(-1)
        slope = slope.sub_(along).mul_(weights).mul_(scale).to(queries.dtype)
        for_queries[:, :, rows] = _like(slope @ keys[:, 0, : rows.stop], queries, rows)
        for_keys[:, 0, : rows.stop] += slope.transpose(1, 2) @ queries[:, :, rows].flatten(1, 2)
    return for_queries, for_keys, for_values


def _weights(queries: Tensor, keys: Tensor, rows: slice, scale: float) -> Tensor:
    """(key heads, group * rows, keys up to the block's end), in the queries' precision."""
    block = queries[:, :, rows]
    scores = block.flatten(1, 2) @ keys[:, 0, : rows.stop].transpose(1, 2)
    wide = scores.view(*block.shape[:3], -1).float().mul_(scale)
    ahead = torch.ones(wide.shape[-2:], dtype=torch.bool, device=wide.device)
    wide.masked_fill_(ahead.triu_(rows.start + 1), -torch.inf)
    return torch.softmax(wide, dim=-1).to(queries.dtype).view(scores.shape)


def _like(flat: Tensor, queries: Tensor, rows: slice) -> Tensor:
    return flat.view(*queries.shape[:2], rows.stop - rows.start, queries.shape[3])


def _row_blocks(length: int) -> list[slice]:
    return [slice(start, min(start + _ROWS, length)) for start in range(0, length, _ROWS)]


def _taken(packed: Tensor, span: Span, key_heads: int) -> Tensor:
    """(key heads, heads of each, reach, features), contiguous and its own."""
    found = packed[span.start : span.start + span.reach]
    split = found.view(len(found), key_heads, -1, packed.shape[-1])
    return split.permute(1, 2, 0, 3).clone(memory_format=torch.contiguous_format)


def _put(out: Tensor, span: Span, found: Tensor) -> None:
    own = found[:, :, : span.length].permute(2, 0, 1, 3)
    out[span.start : span.start + span.length] = own.flatten(1, 2)
