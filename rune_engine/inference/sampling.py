"""One token out of logits: greedy, or sampled by a row's own seed. Knows numpy; not torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rune_engine.inference.rows import Row

Logits = npt.NDArray[np.float32]


def pick(row: Row, logits: Logits) -> None:
    """Give the row its next token of `logits`, one number for each token of the vocabulary."""
    token = _sample(row, logits) if row.request.temperature > 0 else int(logits.argmax())
    row.accept(token, _logprob(logits, token) if row.request.logprobs else None)


def _logprob(logits: Logits, token: int) -> float:
    largest = logits.max()
    total = np.exp(logits - largest).sum(dtype=np.float64)
    return min(0.0, float(logits[token] - largest) - float(np.log(total)))


def _sample(row: Row, logits: Logits) -> int:
    if row.sampler is None:
        row.sampler = np.random.Generator(np.random.PCG64(row.request.seed & (2**64 - 1)))
    scaled = (logits - logits.max()).astype(np.float64) / row.request.temperature
    chances = np.exp(scaled)
    if row.request.top_p < 1.0:
        return _from_nucleus(row.sampler, chances, row.request.top_p)
    return _from(row.sampler, chances)


def _from_nucleus(sampler: Any, chances: npt.NDArray[np.float64], top_p: float) -> int:
    """Sample from the smallest set whose probability reaches `top_p`; the likeliest at least."""
    order = np.argsort(-chances, kind="stable")
    ordered = chances[order]
    before = np.cumsum(ordered) - ordered
    kept = max(1, int(np.searchsorted(before, top_p * ordered.sum(), side="right")))
    return int(order[_from(sampler, ordered[:kept])])


def _from(sampler: Any, chances: npt.NDArray[np.float64]) -> int:
    sums = np.cumsum(chances)
    return min(int(np.searchsorted(sums, sampler.random() * sums[-1], side="right")), len(sums) - 1)
