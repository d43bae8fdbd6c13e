"""Which adapter stays, by what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rune_engine.evolution.compare import Measured, decide, sign_test


def outcomes(solved: int, tasks: int, start: int = 0) -> dict[str, bool]:
    return {f"task-{start + n}": n < solved for n in range(tasks)}


def test_an_adapter_that_beats_the_base_model_stays() -> None:
    decision = decide(Measured("new", outcomes(2, 3)), outcomes(1, 3), [])
    assert decision.archive == {}
    assert "2 of 3" in decision.reason and decision.numbers["base_solved"] == 1


@pytest.mark.parametrize(("solved", "base", "tasks"), [(2, 3, 3), (2, 2, 5), (0, 0, 5)])
def test_one_that_does_not_is_not_served(solved: int, base: int, tasks: int) -> None:
    old = Measured("old", outcomes(0, tasks))
    decision = decide(Measured("new", outcomes(solved, tasks)), outcomes(base, tasks), [old])
    assert list(decision.archive) == ["new"] and "not served" in decision.reason


@pytest.mark.parametrize("tasks", [1, 4])
def test_to_solve_as_many_of_too_few_tasks_is_no_evidence(tasks: int) -> None:
    assert decide(Measured("new", outcomes(0, tasks)), outcomes(0, tasks), []).archive == {}


def test_without_a_measurement_it_stays() -> None:
    decision = decide(Measured("new", {}), {}, [Measured("old", outcomes(9, 9))])
    assert decision.archive == {} and decision.numbers == {"tasks": 0}


def test_an_incumbent_that_is_worse_beyond_chance_goes() -> None:
    new, old = Measured("new", outcomes(8, 8)), Measured("old", outcomes(2, 8))
    decision = decide(new, outcomes(0, 8), [old])
    assert list(decision.archive) == ["old"]
    assert decision.numbers["incumbents"][0]["only_new_solved"] == 6


def test_a_new_adapter_that_is_worse_beyond_chance_goes() -> None:
    new, old = Measured("new", outcomes(1, 8)), Measured("old", outcomes(7, 8))
    assert list(decide(new, outcomes(0, 8), [old]).archive) == ["new"]


def test_a_difference_that_may_be_chance_leaves_both() -> None:
    new, old = Measured("new", outcomes(8, 8)), Measured("old", outcomes(3, 8))
    decision = decide(new, outcomes(0, 8), [old])
    assert decision.archive == {} and "too little" in decision.reason


def test_few_shared_tasks_leave_both() -> None:
    """However large the difference is on tasks that only one of them was measured on."""
    new, old = Measured("new", outcomes(9, 9)), Measured("old", outcomes(0, 9, start=5))
    assert decide(new, outcomes(0, 9), [old]).archive == {}
    assert decide(new, outcomes(0, 9), [old], fewest=10).archive == {}


def test_the_p_value_is_the_exact_binomial_one() -> None:
    assert [sign_test(0, 0), sign_test(5, 0), sign_test(0, 6)] == [1.0, 0.0625, 0.03125]
    assert sign_test(3, 9) == pytest.approx(0.14599609375)
    assert sign_test(1, 1) == 1.0


@pytest.mark.parametrize(("solved", "stays"), [(8, "fast"), (7, "fast"), (9, "trained")])
def test_a_training_has_to_gain_something_over_what_was_made_without(
    solved: int, stays: str
) -> None:
    """On nine tasks, of which the adapter that was made without training solves eight."""
    nothing = outcomes(0, 9)
    fast = Measured("fast", outcomes(8, 9), "1", nothing, keeps_up=True)
    trained = Measured("trained", outcomes(solved, 9), "2", nothing)
    archive = decide(trained, nothing, [fast]).archive
    assert set(archive) == {"fast", "trained"} - {stays}
    # The other way round the newer one is at least as good, or both stay.
    later = decide(replace(fast, made="3"), nothing, [trained]).archive
    assert set(later) == ({"trained"} if solved <= 8 else set())


def test_a_proven_training_does_not_go_for_what_may_be_chance() -> None:
    nothing = outcomes(0, 9)
    fast = Measured("fast", outcomes(9, 9), "1", outcomes(8, 9), keeps_up=True)
    trained = Measured("trained", outcomes(9, 9), "2", nothing)
    assert set(decide(trained, nothing, [fast]).archive) == {"fast"}
