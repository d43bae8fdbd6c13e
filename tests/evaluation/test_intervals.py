"""Intervals are those of a cluster bootstrap: known cases, and how often they cover the truth."""

from __future__ import annotations

import numpy as np

from rune_engine.evaluation.intervals import estimate


def test_tasks_that_all_come_out_alike_leave_no_width() -> None:
    found = estimate({"a": [1.0, 1.0], "b": [1.0]})
    assert found is not None
    assert (found.value, found.low, found.high, found.tasks, found.clusters) == (1, 1, 1, 3, 2)


def test_without_a_task_there_is_no_estimate() -> None:
    assert estimate({}) is None
    assert estimate({"a": []}) is None


def test_larger_projects_count_by_their_tasks() -> None:
    found = estimate({"a": [1.0, 1.0, 1.0], "b": [0.0]})
    assert found is not None and found.value == 0.75


def test_the_same_seed_gives_the_same_interval() -> None:
    values = {str(n): [float(n % 2), 0.5] for n in range(10)}
    assert estimate(values, 500, seed=3) == estimate(values, 500, seed=3)


def test_projects_are_drawn_and_not_their_tasks() -> None:
    """Ten projects that are all or nothing are ten draws, however many tasks they have."""
    by_project = {str(n): [float(n % 2)] * 50 for n in range(10)}
    spread = {str(n): [float(m % 2) for m in range(50)] for n in range(10)}
    together, apart = estimate(by_project), estimate(spread)
    assert together is not None and apart is not None
    assert together.value == apart.value == 0.5
    assert together.high - together.low > 0.5
    assert apart.high - apart.low == 0.0


def test_of_a_single_project_the_tasks_are_drawn() -> None:
    found = estimate({"only": [0.0, 1.0] * 20})
    assert found is not None
    assert found.clusters == 40
    assert 0.3 < found.low < 0.5 < found.high < 0.7


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Projects with success rates of their own; 30 of them, 6 tasks each, 300 times."""
    generator = np.random.default_rng(0)
    covered = 0
    for number in range(300):
        rates = generator.beta(2, 3, size=30)
        passes = generator.random((30, 6)) < rates[:, None]
        values = {str(n): row.astype(float).tolist() for n, row in enumerate(passes)}
        found = estimate(values, 400, seed=number)
        assert found is not None
        covered += found.low <= 0.4 <= found.high
    assert 0.90 <= covered / 300 <= 0.985
