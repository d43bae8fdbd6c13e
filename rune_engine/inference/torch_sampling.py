"""The next token of each row, picked from a model's logits with the row's own sampler.

Knows rows and torch; nothing of models, caches or adapters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from rune_engine.errors import InferenceError, RuneError
from rune_engine.inference.adapter_files import corrupted
from rune_engine.inference.rows import Row

_LEAST_TEMPERATURE = 1e-6
"""As good as greedy, and still something that can be divided by."""


def pick(rows: Sequence[Row], logits: torch.Tensor) -> None:
    """Give every row its next token of `logits`, [rows, vocabulary].

    A row whose logits are no numbers fails; the others go on.
    """
    highest, best = (values.tolist() for values in logits.max(dim=-1))
    for i, row in enumerate(rows):
        if not math.isfinite(highest[i]):
            row.error = _no_numbers(row)
            continue
        token = _sample(row, logits[i]) if row.request.temperature > 0 else best[i]
        row.accept(token, _logprob(logits[i], token) if row.request.logprobs else None)


def _no_numbers(row: Row) -> RuneError:
    if row.adapter is not None:
        return corrupted(row.adapter, "with it, the model's answers are not finite numbers")
    return InferenceError(
        "The base model's answers are not finite numbers.",
        next_step="Try the precision float32, or another base model.",
    )


def _logprob(logits: torch.Tensor, token: int) -> float:
    values = logits.double()
    return float(values[token] - values.logsumexp(-1))


def _sample(row: Row, logits: torch.Tensor) -> int:
    """Sample from one row of logits with the row's own generator."""
    if row.sampler is None:
        row.sampler = torch.Generator().manual_seed(row.request.seed)
    values = logits.float().cpu()
    temperature = max(row.request.temperature, _LEAST_TEMPERATURE)
    chances = torch.softmax((values - values.max()) / temperature, dim=-1)
    if row.request.top_p < 1.0:
        chances = _nucleus(chances, row.request.top_p)
    return int(torch.multinomial(chances, 1, generator=row.sampler).item())


def _nucleus(chances: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero what lies outside the smallest set whose probability reaches `top_p`."""
    ordered, order = chances.sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered > top_p] = 0.0
    return torch.zeros_like(chances).scatter(-1, order, ordered)
