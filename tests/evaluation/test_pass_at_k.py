"""pass@k is the unbiased estimator, exactly."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rune_engine.errors import InvalidInputError
from rune_engine.evaluation.pass_at_k import mean_pass_at_k, pass_at_k


@given(st.integers(1, 9), st.data())
def test_it_is_the_share_of_k_subsets_with_a_correct_sample(n: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    subsets = list(combinations(range(n), k))
    share = sum(any(i < correct for i in subset) for subset in subsets) / len(subsets)
    assert pass_at_k(n, correct, k) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "correct", "k", "expected"),
    [
        (10, 0, 10, 0.0),
        (10, 10, 1, 1.0),
        (10, 1, 10, 1.0),
        (10, 3, 1, 0.3),
        (200, 1, 100, 0.5),
        (100_000, 1, 1, 1e-05),
    ],
)
def test_edges_are_exact(n: int, correct: int, k: int, expected: float) -> None:
    assert pass_at_k(n, correct, k) == expected


@pytest.mark.parametrize(
    ("n", "correct", "k"), [(1, 2, 1), (1, -1, 1), (1, 1, 2), (1, 1, 0), (0, 0, 1)]
)
def test_what_cannot_be_estimated_is_refused(n: int, correct: int, k: int) -> None:
    with pytest.raises(InvalidInputError):
        pass_at_k(n, correct, k)


def test_the_mean_is_over_tasks_and_needs_one() -> None:
    assert mean_pass_at_k([(2, 2), (2, 0), (4, 2)], 1) == 0.5
    with pytest.raises(InvalidInputError):
        mean_pass_at_k([], 1)
