"""Causal attention over packed sequences, with its gradient written out.

PyTorch's own for processors spends most of its time in the gradient; here both ways are batched
matrix products. The probabilities are computed again for the gradient, not kept. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from trainers.tokens import round_up

_ROWS = 256
"""Queries attended for at once: a longer sequence is cut, and what lies ahead is not read."""
_GROUP_TOKENS = 512
"""Short sequences are attended for together, up to so many tokens: more leave the cache."""


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences of about one length, rounded up to `reach` for the sake of few shapes.

    `take` are the tokens of each, (sequences * reach,), and whatever follows within the reach:
    causality keeps it out of the sequence. `put` is the same, with the number of all tokens for
    what is not the sequence's own; `own` is (sequences, 1, reach, 1), 1.0 or 0.0.
    """

    sequences: int
    reach: int
    take: Tensor
    put: Tensor
    own: Tensor


def groups_of(lengths: Sequence[int]) -> tuple[list[Group], int]:
    """Group sequences that lie end to end; and how many tokens there must be to take."""
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    reaches = [_reach(length) for length in lengths]
    total = max(start + reach for start, reach in zip(starts, reaches, strict=True))
    groups: list[Group] = []
    for reach in sorted(set(reaches)):
        chosen = [i for i, each in enumerate(reaches) if each == reach]
        while chosen:
            # Powers of two, so that there are few shapes.
            count = 1 << (min(len(chosen), max(1, _GROUP_TOKENS // reach)).bit_length() - 1)
            part, chosen = chosen[:count], chosen[count:]
            groups.append(_group([(starts[i], lengths[i]) for i in part], reach))
    return groups, total


def _reach(length: int) -> int:
    """A length rounded up by at most an eighth, or to a multiple of 32."""
    return round_up(length, 1 << max(5, length.bit_length() - 3))


def _group(spans: Sequence[tuple[int, int]], reach: int) -> Group:
    offsets = torch.arange(reach)
    starts = torch.tensor([start for start, _ in spans]).unsqueeze(1)
    own = offsets < torch.tensor([length for _, length in spans]).unsqueeze(1)
    take = starts + offsets
    # The spare row comes after the tokens, however many they will be: see `_with_spare`.
    put = torch.where(own, take, -1).flatten()
    return Group(len(spans), reach, take.flatten(), put, own.float().view(-1, 1, reach, 1))


class Attention(Function):
    """softmax(scale q k^T) v within each sequence.

    Queries are (tokens, heads, features), keys and values (tokens, key heads, features).
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, groups: Sequence[Group], scale: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.groups, ctx.scale = groups, scale
        out = _with_spare(q)
        for group in groups:
            queries, keys, values = (_taken(tensor, group, k.shape[1]) for tensor in (q, k, v))
            queries.mul_(scale)
            blocks = [
                _like(_weights(queries, keys, rows) @ values[:, 0, : rows.stop], queries, rows)
                for rows in _row_blocks(group.reach)
            ]
            _put(out, group, blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2))
        return out[:-1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        outs = [_with_spare(tensor) for tensor in (q, k, v)]
        for group in ctx.groups:
            queries, keys, values, grad = (
                _taken(tensor, group, k.shape[1]) for tensor in (q, k, v, grads[0])
            )
            queries.mul_(ctx.scale)
            grad.view(group.sequences, -1, *grad.shape[2:]).mul_(group.own.to(grad.dtype))
            made = _gradients(queries, keys, values, grad)
            made[0].mul_(ctx.scale)
            for out, found in zip(outs, made, strict=True):
                _put(out, group, found)
        return outs[0][:-1], outs[1][:-1], outs[2][:-1], None, None


def _gradients(
    queries: Tensor, keys: Tensor, values: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for scaled queries, keys and values, from that for the result."""
    for_queries = torch.empty_like(queries)
    for_keys, for_values = torch.zeros_like(keys), torch.zeros_like(values)
    for rows in _row_blocks(queries.shape[2]):
        weights = _weights(queries, keys, rows)
        block = grad[:, :, rows].flatten(1, 2)
        for_values[:, 0, : rows.stop] += weights.transpose(1, 2) @ block
        slope = block @ values[:, 0, : rows.stop].transpose(1, 2)
        slope = torch.ops.aten._softmax_backward_data(slope, weights, -1, slope.dtype)
        for_queries[:, :, rows] = _like(slope @ keys[:, 0, : rows.stop], queries, rows)
        for_keys[:, 0, : rows.stop] += slope.transpose(1, 2) @ queries[:, :, rows].flatten(1, 2)
    return for_queries, for_keys, for_values


def _weights(queries: Tensor, keys: Tensor, rows: slice) -> Tensor:
    """(batch, group * rows, keys up to the block's end), in the queries' precision."""
    block = queries[:, :, rows]
    scores = block.flatten(1, 2) @ keys[:, 0, : rows.stop].transpose(1, 2)
    count = rows.stop - rows.start
    own = scores.view(*block.shape[:3], rows.stop)[..., rows.start :]
    own.masked_fill_(_ahead()[:count, :count].to(own.device), -torch.inf)
    return torch.softmax(scores, dim=-1)


@cache
def _ahead() -> Tensor:
    """Which keys of a block lie ahead of which of its queries."""
    return torch.ones(_ROWS, _ROWS, dtype=torch.bool).triu_(1)


def _like(flat: Tensor, queries: Tensor, rows: slice) -> Tensor:
    return flat.view(*queries.shape[:2], rows.stop - rows.start, queries.shape[3])


def _row_blocks(length: int) -> list[slice]:
    return [slice(start, min(start + _ROWS, length)) for start in range(0, length, _ROWS)]


def _with_spare(tensor: Tensor) -> Tensor:
    """Zeros of the tensor's shape, and a last row for what is nobody's."""
    return tensor.new_zeros(tensor.shape[0] + 1, *tensor.shape[1:])


def _taken(packed: Tensor, group: Group, key_heads: int) -> Tensor:
    """(sequences * key heads, heads of each, reach, features), contiguous and its own."""
    found = packed.index_select(0, group.take)
    split = found.view(group.sequences, group.reach, key_heads, -1, packed.shape[-1])
    return split.permute(0, 2, 3, 1, 4).flatten(0, 1).clone(memory_format=torch.contiguous_format)


def _put(out: Tensor, group: Group, found: Tensor) -> None:
    split = found.view(group.sequences, -1, *found.shape[1:]).permute(0, 3, 1, 2, 4)
    put = torch.where(group.put < 0, len(out) - 1, group.put)
    out.index_copy_(0, put, split.reshape(-1, *out.shape[1:]))
