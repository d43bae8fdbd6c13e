"""Cross-entropy under a large vocabulary, without ever holding all logits.

The logits of a chunk of positions are made, turned into losses and gradients, and dropped: with
151,936 tokens in the vocabulary those of one long conversation would outweigh the whole model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import cross_entropy

CHUNK_LOGITS = 20_000_000
"""Logits held at once."""
_ROW_STEP, _MOST_ROWS = 128, 512
"""Rows are multiples of this: a matrix library compiles a kernel for every new shape."""


def token_losses(head: nn.Module, states: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each label, (tokens,) float32, in nats.

    Args:
        head: the output embedding. A trainable one is differentiated by autograd, in one piece.
        states: (tokens, hidden).
    """
    weight = head.weight
    assert isinstance(weight, Tensor)
    if weight.requires_grad or type(head) is not nn.Linear or head.bias is not None:
        padded = nn.functional.pad(states, (0, 0, 0, -len(labels) % _ROW_STEP))
        logits = head(padded)[: len(labels)]
        return cross_entropy(logits.float(), labels, reduction="none")
    losses: Tensor = _FrozenHead.apply(states, weight, labels)
    return losses


def chunk_rows(vocabulary: int) -> int:
    """Positions whose logits are held at once."""
    rows = CHUNK_LOGITS // vocabulary // _ROW_STEP * _ROW_STEP
    return min(max(rows, _ROW_STEP), _MOST_ROWS)


class _FrozenHead(Function):
    """The gradient for a position's state follows from its own logits, so it is made with them."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        count, rows = len(labels), chunk_rows(weight.shape[0])
        losses = torch.empty(count, dtype=torch.float32, device=states.device)
        slopes = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            made, slope = _chunk(states[part], weight, labels[part], slopes is not None)
            losses[part] = made
            if slopes is not None and slope is not None:
                slopes[part] = slope
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return slopes * grads[0].unsqueeze(1).to(slopes.dtype), None, None


def _chunk(
    states: Tensor, weight: Tensor, labels: Tensor, differentiate: bool
) -> tuple[Tensor, Tensor | None]:
    """Losses of some positions, and d loss / d state of each."""
    count = len(labels)
    whole = nn.functional.pad(states, (0, 0, 0, -count % _ROW_STEP)).to(weight.dtype)
    logits = (whole @ weight.T)[:count].float()
    rows = torch.arange(count, device=labels.device)
    total = logits.logsumexp(dim=1)
    losses = total - logits[rows, labels]
    if not differentiate:
        return losses, None
    probabilities = logits.sub_(total.unsqueeze(1)).exp_()
    probabilities[rows, labels] -= 1.0
    narrow = nn.functional.pad(probabilities.to(weight.dtype), (0, 0, 0, -count % _ROW_STEP))
    return losses, (narrow @ weight)[:count].to(states.dtype)
