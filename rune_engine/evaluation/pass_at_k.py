"""pass@k: the chance that at least one of k samples of a task passes its tests.

The unbiased estimator of Chen et al. 2021, "Evaluating Large Language Models Trained on Code"
(https://arxiv.org/abs/2107.03374), section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import comb

from rune_engine.errors import InvalidInputError


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), from n `samples` of one task of which c are `correct`.

    Raises:
        InvalidInputError: not 0 <= correct <= samples, or not 1 <= k <= samples.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise InvalidInputError(
            f"pass@{k} cannot be estimated from {correct} correct of {samples} samples.",
            next_step="Draw at least k samples, k >= 1, and count only those.",
        )
    # Whole numbers until the last step: no overflow, no rounding, exact at 0 and 1.
    return float(1 - Fraction(comb(samples - correct, k), comb(samples, k)))


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """The mean over tasks, each given as (samples, correct).

    Raises:
        InvalidInputError: no tasks, or one that `pass_at_k` refuses.
    """
    values = [pass_at_k(samples, correct, k) for samples, correct in counts]
    if not values:
        raise InvalidInputError("There is no pass@k of no tasks.", next_step="Run a task first.")
    return sum(values) / len(values)
