"""The guard: an adapter whose live outcomes fall under the base model's goes out of use by itself.

A sequential test, so that looking after every task costs no error. For two streams of yes and no
with rates p (with the adapter) and q (without), mixing each likelihood over a uniform prior and
dividing by the likelihood at (p, q) gives a non-negative martingale of mean 1 (Robbins 1970,
"Statistical methods related to the law of the iterated logarithm"). The least that the product of
both is over every p >= q is then an e-process for "the adapter is no worse": by Ville's inequality
it ever reaches 1 / alpha with probability alpha at most, however often anybody looks. Knows no
database.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, lgamma, log

from rune_engine.evolution.evidence import Decision

ALPHA = 0.01
"""The chance that an adapter which is no worse than the base model is ever demoted, at most."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """First attempts at live tasks that had a verdict."""

    solved: int = 0
    tried: int = 0

    def __add__(self, other: Outcomes) -> Outcomes:
        return Outcomes(self.solved + other.solved, self.tried + other.tried)

    @property
    def rate(self) -> float:
        return self.solved / self.tried if self.tried else 0.0


def judge(
    adapter_id: str, with_adapter: Outcomes, without: Outcomes, alpha: float = ALPHA
) -> Decision:
    """Whether live outcomes with an adapter have fallen under those without one.

    Args:
        with_adapter: of tasks that the adapter was loaded for.
        without: of the base model alone, on tasks of the same project and scope.
    """
    evidence = against(with_adapter, without)
    numbers = {
        "solved": with_adapter.solved,
        "tried": with_adapter.tried,
        "base_solved": without.solved,
        "base_tried": without.tried,
        "e_value": min(evidence, 1e12),
        "needed": 1 / alpha,
    }
    counts = (
        f"with it {with_adapter.solved} of {with_adapter.tried} live tasks were solved at the "
        f"first attempt, by the base model alone {without.solved} of {without.tried} "
        f"(e-value {evidence:.3g}, {1 / alpha:g} decides)"
    )
    if evidence < 1 / alpha:
        return Decision({}, f"It stays: {counts}.", numbers)
    reason = f"It fell under the base model: {counts}."
    return Decision({adapter_id: reason}, reason, numbers)


def against(with_adapter: Outcomes, without: Outcomes) -> float:
    """The evidence (an e-value) against the adapter's being at least as good; 0 to infinity."""
    if not with_adapter.tried or not without.tried or with_adapter.rate >= without.rate:
        return 0.0
    both = with_adapter + without
    # Below the diagonal the least of the product is on it, at the rate of both taken together.
    logarithm = (
        _log_mixture(with_adapter)
        + _log_mixture(without)
        - _times_log(both.solved, both.rate)
        - _times_log(both.tried - both.solved, 1 - both.rate)
    )
    return inf if logarithm > 700 else exp(logarithm)


def _log_mixture(seen: Outcomes) -> float:
    """The logarithm of the likelihood of what was seen, in its order, over a uniform prior."""
    failed = seen.tried - seen.solved
    return lgamma(seen.solved + 1) + lgamma(failed + 1) - lgamma(seen.tried + 2)


def _times_log(times: int, rate: float) -> float:
    return times * log(rate) if times else 0.0


NONE = Outcomes()
