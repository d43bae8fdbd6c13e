"""The guard demotes what does harm, and, however often it looks, hardly ever what does none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rune_engine.evolution.guard import Outcomes, against, judge


def test_an_adapter_that_fails_where_the_base_model_did_not_goes() -> None:
    decision = judge("a", Outcomes(0, 12), Outcomes(9, 10))
    assert list(decision.archive) == ["a"]
    assert "0 of 12" in decision.reason and decision.numbers["e_value"] > 100


@pytest.mark.parametrize(
    ("own", "base"),
    [
        ((0, 0), (9, 10)),
        ((0, 12), (0, 0)),
        ((5, 10), (5, 10)),
        ((10, 10), (1, 10)),
        ((0, 2), (2, 2)),
        ((0, 1000), (0, 1000)),
    ],
)
def test_one_that_does_not_or_of_which_too_little_is_known_stays(
    own: tuple[int, int], base: tuple[int, int]
) -> None:
    decision = judge("a", Outcomes(*own), Outcomes(*base))
    assert decision.archive == {} and decision.reason.startswith("It stays")


def test_looking_after_every_task_demotes_an_adapter_that_is_no_worse_as_rarely_as_promised() -> (
    None
):
    """Both streams have one rate, which is the hardest case, and are looked at after each task."""
    chance, alpha, demoted, runs = random.Random(7), 0.1, 0, 400
    for _ in range(runs):
        rate = chance.random()
        own = base = Outcomes()
        for _ in range(60):
            own += Outcomes(int(chance.random() < rate), 1)
            base += Outcomes(int(chance.random() < rate), 1)
            if judge("a", own, base, alpha).archive:
                demoted += 1
                break
    assert demoted <= alpha * runs


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_the_evidence_is_the_least_over_every_pair_of_rates_that_means_no_harm(
    solved: int, failed: int, base_solved: int, base_failed: int
) -> None:
    own = Outcomes(solved, solved + failed)
    base = Outcomes(base_solved, base_solved + base_failed)
    evidence = against(own, base)
    if evidence == 0.0:
        assert not own.tried or not base.tried or own.rate >= base.rate
        return
    grid = [n / 20 for n in range(21)]
    least = min(_martingale(own, p) * _martingale(base, q) for p in grid for q in grid if p >= q)
    assert evidence <= least * (1 + 1e-9)


def _martingale(seen: Outcomes, rate: float) -> float:
    """The likelihood over a uniform prior, over that at `rate`."""
    from math import comb, inf

    mixed = 1 / ((seen.tried + 1) * comb(seen.tried, seen.solved))
    at_rate = rate**seen.solved * (1 - rate) ** (seen.tried - seen.solved)
    return mixed / at_rate if at_rate else inf
