"""What is due, what is kept back, and what rests after a failure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rune_engine.config import ConsolidationSettings
from rune_engine.consolidation.policy import (
    BACK_OFF,
    Due,
    Facts,
    Failure,
    Learnt,
    Lesson,
    Scope,
    agenda,
)

NOW = datetime(2030, 1, 2, tzinfo=UTC)
RULES = ConsolidationSettings()
SHOP = Scope("shop")


def lesson(number: int, **changes: Any) -> Lesson:
    """The trajectory of one task; another number is another task."""
    given = {"project_id": "shop", "domain": "general", "task_type": "fix", "has_tests": True}
    return Lesson(
        **{"id": f"t{number}", "task": f"task-{number * 7919 % 97:02}", **given, **changes}
    )


def lessons(count: int, start: int = 0, **changes: Any) -> list[Lesson]:
    return [lesson(number, **changes) for number in range(start, start + count)]


def due(
    found: list[Lesson],
    *learnt: Learnt,
    failures: tuple[Failure, ...] = (),
    now: datetime = NOW,
    rules: ConsolidationSettings = RULES,
    has_fast: bool = False,
) -> list[Due]:
    return agenda(Facts("base", found, learnt, failures, has_fast), rules, now).due


def learn(one: Due, *, stands_in: bool = False) -> Learnt:
    seen = frozenset(one.trained), frozenset(one.kept_back)
    return Learnt(one.scope, *seen, one.fast, stands_in)


def fail(one: Due, ended_at: datetime = NOW) -> Failure:
    ids = frozenset({*one.trained, *one.kept_back})
    return Failure(one.scope, "job", ids, ended_at, "no memory", one.fast)


def test_a_project_is_due_once_it_has_enough() -> None:
    assert due(lessons(7)) == []
    (first,) = due(lessons(8))
    assert (first.scope, first.new, first.base_model_id) == (SHOP, 8, "base")
    assert len(first.trained) == 6 and len(first.kept_back) == 2


def test_it_is_due_again_once_enough_is_new() -> None:
    (first,) = due(lessons(8))
    assert due(lessons(11), learn(first)) == []
    (second,) = due(lessons(12), learn(first))
    assert second.new == 4 and second.key != first.key


def test_what_another_project_has_does_not_count() -> None:
    assert due([*lessons(7), *lessons(7, 20, project_id="bank")]) == []


def test_a_share_of_the_tasks_is_kept_back_and_at_least_two() -> None:
    assert [len(due(lessons(n))[0].kept_back) for n in (8, 10, 11, 40)] == [2, 2, 3, 8]


def test_tasks_with_tests_are_kept_back_first() -> None:
    untested, tested = lessons(20, has_tests=False), lessons(3, 30)
    (one,) = due([*untested, *tested])
    assert {"t30", "t31", "t32"} < set(one.kept_back)


def test_all_trajectories_of_a_task_lie_on_one_side() -> None:
    (one,) = due([*lessons(8), *[lesson(n, id=f"again-{n}") for n in range(8)]])
    again = {i.replace("t", "again-") for i in one.kept_back if i.startswith("t")}
    assert len(one.kept_back) == 4 and again < set(one.kept_back)


def test_the_task_of_a_held_out_trajectory_is_kept_back() -> None:
    held_out = lesson(3, id="held-out", held_out=True)
    (one,) = due([*lessons(8), held_out])
    assert {"t3", "held-out"} <= set(one.kept_back) and len(one.kept_back) == 3


def test_one_task_alone_is_never_due() -> None:
    assert due([lesson(1, id=f"t{n}") for n in range(20)]) == []


def test_a_domain_is_due_only_beside_another_and_when_large_enough() -> None:
    web, data = lessons(9, domain="web"), lessons(4, 50, domain="data")
    assert [one.scope for one in due(web)] == [SHOP]
    assert [one.scope for one in due([*web, *data])] == [SHOP, Scope("shop", "web")]


def test_a_task_type_is_due_within_its_domain() -> None:
    fixes, features = lessons(9), lessons(9, 50, task_type="feature")
    found = [one.scope for one in due([*fixes, *features])]
    task_types = [Scope("shop", "general", "feature"), Scope("shop", "general", "fix")]
    assert found == [SHOP, *task_types]


def test_a_domain_learns_no_task_that_its_project_was_kept_from() -> None:
    both = [*lessons(10, domain="web"), *lessons(10, 50, domain="data")]
    project = due(both)[0]
    for one in due(both, learn(project)):
        assert not set(one.trained) & set(project.kept_back)


def test_a_failed_scope_rests_until_enough_is_new_or_a_day_has_passed() -> None:
    (first,) = due(lessons(8))
    failed = (fail(first),)
    soon = NOW + timedelta(hours=23)
    assert due(lessons(11), failures=failed, now=soon) == []
    (resting,) = agenda(Facts("base", lessons(8), (), failed), RULES, soon).resting
    assert resting.until == NOW + BACK_OFF
    assert len(due(lessons(12), failures=failed, now=soon)) == 1
    (again,) = due(lessons(8), failures=failed, now=NOW + BACK_OFF)
    assert (again.trained, again.kept_back) == (first.trained, first.kept_back)
    assert again.key == first.key


def test_a_clock_that_was_set_back_lets_nothing_rest_for_ever() -> None:
    (first,) = due(lessons(8))
    assert due(lessons(8), failures=(fail(first, NOW + timedelta(days=900)),)) != []


def test_names_that_join_to_the_same_words_have_different_keys() -> None:
    one = Due(Scope("a / b"), "base", ("t1",), ("t2",), 1)
    other = Due(Scope("a", "b"), "base", ("t1",), ("t2",), 1)
    assert str(one.scope) == str(other.scope) and one.key != other.key


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_share_can_be_set(share: float) -> None:
    (one,) = due(lessons(10), rules=ConsolidationSettings(kept_back_share=share))
    assert len(one.kept_back) == 10 * share


@st.composite
def recorded(draw: st.DrawFn) -> list[Lesson]:
    """Trajectories in the order in which they came."""
    text = st.sampled_from
    count = draw(st.integers(0, 60))
    return [
        Lesson(
            id=f"t{number}",
            project_id="shop",
            domain=draw(text(["web", "data"])),
            task_type=draw(text(["fix", "feature"])),
            task=f"{draw(st.integers(0, 30)) * 7919 % 97:02}",
            has_tests=draw(st.booleans()),
            held_out=draw(text([False] * 9 + [True])),
        )
        for number in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(recorded())
def test_a_task_that_was_kept_back_stays_kept_back(history: list[Lesson]) -> None:
    learnt: list[Learnt] = []
    task = {one.id: one.task for one in history}
    kept_ever: set[str] = set()
    for end in range(len(history) + 1):
        while todo := due(history[:end], *learnt):
            trained = {task[i] for i in todo[0].trained}
            kept = {task[i] for i in todo[0].kept_back}
            assert trained and not trained & kept
            assert not trained & kept_ever
            assert len(kept) >= 2
            kept_ever |= kept
            learnt.append(learn(todo[0]))
            assert len(learnt) < 1000


@settings(max_examples=30, deadline=None)
@given(recorded(), st.randoms(use_true_random=False))
def test_the_order_of_the_facts_decides_nothing(history: list[Lesson], random: Any) -> None:
    shuffled = random.sample(history, len(history))
    assert [one.key for one in due(history)] == [one.key for one in due(shuffled)]


# --- without training ----------------------------------------------------------------------------


def test_what_needs_no_training_comes_first_and_is_kept_from_the_same_tasks() -> None:
    update, training = due(lessons(8), has_fast=True)
    assert (update.fast, training.fast) == (True, False) and update.key != training.key
    assert (update.trained, update.kept_back) == (training.trained, training.kept_back)
    (after,) = due(lessons(8), learn(update), has_fast=True)
    assert not after.fast and after.kept_back == update.kept_back


def test_every_new_trajectory_updates_and_a_training_waits_for_more() -> None:
    update, training = due(lessons(8), has_fast=True)
    learnt = learn(update), learn(training)
    assert due(lessons(8), *learnt, has_fast=True) == []
    (second,) = due(lessons(9), *learnt, has_fast=True)
    assert (second.fast, second.new) == (True, 1)
    both = due(lessons(12), *learnt, learn(second), has_fast=True)
    assert [(one.fast, one.new) for one in both] == [(True, 3), (False, 4)]


def test_each_way_goes_by_what_it_has_learnt_itself() -> None:
    update, _ = due(lessons(8), has_fast=True)
    _, training = due(lessons(12), learn(update), has_fast=True)
    (again,) = due(lessons(12), learn(update), learn(training), has_fast=True)
    assert again.fast and again.new == 4


def test_updates_can_be_switched_off_or_want_more() -> None:
    off = RULES.model_copy(update={"fast": False})
    assert [one.fast for one in due(lessons(8), rules=off, has_fast=True)] == [False]
    (update, training) = due(lessons(8), has_fast=True)
    rarely = RULES.model_copy(update={"fast_min_new": 3})
    learnt = learn(update), learn(training)
    assert due(lessons(10), *learnt, rules=rarely, has_fast=True) == []
    assert [one.fast for one in due(lessons(11), *learnt, rules=rarely, has_fast=True)] == [True]


def test_a_training_follows_on_what_stood_in_for_it_however_little_there_is() -> None:
    everything = frozenset(one.id for one in lessons(4))
    stood_in = Learnt(SHOP, everything, frozenset(), fast=True, stands_in=True)
    (training,) = due(lessons(4), stood_in, has_fast=True)
    assert not training.fast and (len(training.trained), len(training.kept_back)) == (2, 2)
    assert due(lessons(4), stood_in, learn(training), has_fast=True) == []
    asked_for_by_name = Learnt(SHOP, everything, frozenset(), fast=True)
    assert due(lessons(4), asked_for_by_name, has_fast=True) == []


def test_an_update_that_failed_keeps_no_training_back() -> None:
    update, _ = due(lessons(8), has_fast=True)
    (training,) = due(lessons(8), failures=(fail(update),), has_fast=True)
    assert not training.fast
    again = due(lessons(9), failures=(fail(update),), has_fast=True)
    assert [one.fast for one in again] == [True, False]
