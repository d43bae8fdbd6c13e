"""What follows from verdicts: fitness by its definition, and none where too little is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rune_engine.evaluation.conclusion import Weighing, conclude
from rune_engine.evaluation.intervals import paired
from rune_engine.models import EvaluatedTask, TaskGroup

Sides = Sequence[tuple[bool | None, bool | None]]


def tasks(sides: Sides, group: TaskGroup = "held_out") -> list[EvaluatedTask]:
    """One task for each pair of verdicts: with the adapter, and alone."""
    return [
        EvaluatedTask(task=f"{group}-{n}", group=group, with_adapter=[ours], with_base=[base])
        for n, (ours, base) in enumerate(sides)
    ]


def found(held_out: Sides, outside: Sides, **weighing: float) -> dict[str, object]:
    per_task = [*tasks(held_out), *tasks(outside, "out_of_domain")]
    return conclude(per_task, Weighing(**weighing))  # type: ignore[arg-type]


SOLVED, LOST, LEARNT, NEVER = (True, True), (False, True), (True, False), (False, False)
UNDECIDED = (None, True)


def test_fitness_is_seven_tenths_pass_rate_and_three_tenths_generalization() -> None:
    result = found([LEARNT] * 4 + [NEVER] * 4, [SOLVED] * 3 + [LOST])
    assert result["evaluated"] is True
    assert (result["pass_rate"], result["base_pass_rate"]) == (0.5, 0.0)
    assert result["generalization"] == 0.75
    assert result["fitness"] == pytest.approx(0.7 * 0.5 + 0.3 * 0.75)
    assert found([LEARNT] * 5, [LOST, SOLVED], alpha=0.2)["fitness"] == pytest.approx(0.6)


def test_what_harms_nothing_generalizes_fully_and_need_know_no_other_project() -> None:
    assert found([LEARNT] * 5, [SOLVED, SOLVED, NEVER, NEVER])["generalization"] == 1.0
    assert found([LEARNT] * 5, [SOLVED, LEARNT])["generalization"] == 1.0, "more is not better"


@pytest.mark.parametrize(
    ("held_out", "outside", "said"),
    [
        ([LEARNT] * 4, [SOLVED], "4 of 4 held-out tasks"),
        ([LEARNT] * 4 + [UNDECIDED] * 9, [SOLVED], "4 of 13 held-out tasks"),
        ([LEARNT] * 9, [], "none was decided"),
        ([LEARNT] * 9, [NEVER, LEARNT], "solves none of them"),
    ],
)
def test_too_little_is_unevaluated_and_no_guess(held_out: Sides, outside: Sides, said: str) -> None:
    result = found(held_out, outside)
    assert (result["evaluated"], result["fitness"]) == (False, None)
    assert said in str(result["reason"]) and str(result["reason"]).startswith("Unevaluated")
    assert result["pass_rate"] == 1.0


def test_a_pass_rate_alone_needs_nothing_outside() -> None:
    assert found([LEARNT] * 5, [], alpha=1.0)["fitness"] == 1.0


def test_samples_without_a_verdict_count_on_no_side() -> None:
    sides: list[tuple[list[bool | None], list[bool | None]]] = [
        ([True, None, False, True], [False, False, None, None]),
        ([None, None, None, None], [True, True, True, True]),
    ]
    per_task = [
        EvaluatedTask(task=str(n), with_adapter=ours, with_base=base)
        for n, (ours, base) in enumerate(sides)
    ]
    result = conclude(per_task, Weighing(), ks=(1, 2, 3, 4))
    assert (result["tasks"], result["undecided"]) == (2, 1)
    assert result["pass_rate"] == pytest.approx(2 / 3)
    assert result["pass_at_k"] == {1: pytest.approx(2 / 3), 2: 1.0, 3: 1.0}
    assert result["base_pass_at_k"] == {1: 0.0, 2: 0.0}


def test_without_an_adapter_there_is_the_base_models_rate_alone() -> None:
    per_task = [EvaluatedTask(task=str(n), with_adapter=[], with_base=[n > 0]) for n in range(4)]
    result = conclude(per_task, Weighing())
    assert (result["pass_rate"], result["base_pass_rate"]) == (None, 0.75)
    assert result["base_pass_at_k"] == {1: 0.75} and result["undecided"] == 0


def test_six_tasks_are_the_fewest_that_can_leave_zero_out() -> None:
    """As with the sign test; the bootstrap alone would do with one."""
    five = paired({str(n): (1.0, 0.0) for n in range(5)})
    six = paired({str(n): (1.0, 0.0) for n in range(6)})
    assert five is not None and six is not None
    assert five.low < 0.0 < six.low and five.high == six.high == 1.0
    assert five.p_value > 0.05 > six.p_value


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1))
def test_an_interval_holds_its_difference_and_turns_with_the_sides(
    outcomes: list[tuple[float, bool]],
) -> None:
    sides = {str(n): (ours, float(base)) for n, (ours, base) in enumerate(outcomes)}
    forth = paired(sides, 200)
    back = paired({task: (base, ours) for task, (ours, base) in sides.items()}, 200)
    assert forth is not None and back is not None
    assert -1.0 <= forth.low <= forth.difference <= forth.high <= 1.0
    assert back.difference == pytest.approx(-forth.difference)
    assert (back.better, back.worse, back.p_value) == (forth.worse, forth.better, forth.p_value)


def test_intervals_of_small_samples_cover_at_least_what_they_say() -> None:
    """Eight tasks, of which an adapter gains a fifth and loses a twentieth, 400 times."""
    import random

    rng, covered = random.Random(0), 0
    for number in range(400):
        draws = rng.choices((1.0, 0.0, -1.0), weights=(0.2, 0.75, 0.05), k=8)
        interval = paired({str(n): (d, 0.0) for n, d in enumerate(draws)}, 300, seed=number)
        assert interval is not None
        covered += interval.low <= 0.15 <= interval.high
    assert covered / 400 >= 0.95


def test_no_task_has_no_interval() -> None:
    assert paired({}) is None
