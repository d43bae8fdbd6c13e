"""pass@k is the unbiased estimator, exactly."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import combinations
from math import factorial

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


def test_a_thousand_cases_equal_the_closed_form_in_exact_fractions() -> None:
    """As the paper writes it, by factorials; samples up to the 200 that it draws."""
    rng = random.Random(0)
    for _ in range(1_000):
        n = rng.randint(1, 200)
        correct, k = rng.randint(0, n), rng.randint(1, n)
        exact = 1 - _choose(n - correct, k) / _choose(n, k)
        assert pass_at_k(n, correct, k) == float(exact), (n, correct, k)


def _choose(n: int, k: int) -> Fraction:
    if k > n:
        return Fraction(0)
    return Fraction(factorial(n), factorial(k) * factorial(n - k))


def test_it_equals_the_published_estimator() -> None:
    """The paper's own listing (Chen et al. 2021, figure 3), with what its text says of it: the
    naive 1 - (1 - c/n)^k is another, smaller number."""

    def published(n: int, c: int, k: int) -> float:
        product = 1.0
        for i in range(n - c + 1, n + 1):
            product *= 1.0 - k / i
        return 1.0 if n - c < k else 1.0 - product

    table = {(k, c): published(200, c, k) for k in (1, 10, 100) for c in (1, 2, 5, 50, 150)}
    for (k, correct), expected in table.items():
        assert pass_at_k(200, correct, k) == pytest.approx(expected, rel=1e-12)
        naive = 1 - (1 - correct / 200) ** k
        assert k == 1 or naive > 1 - 1e-9 or pass_at_k(200, correct, k) > naive


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([(2, 1)], {1: 0.5, 2: 1.0}),
        ([(6, 3)], {1: 0.4999999999999999}),
    ],
)
def test_published_values_come_out(
    results: list[tuple[int, int]], expected: dict[int, float]
) -> None:
    """The example of Hugging Face's `code_eval`; the six samples that HumanEval's README checks."""
    for k, value in expected.items():
        assert mean_pass_at_k(results, k) == pytest.approx(value)
