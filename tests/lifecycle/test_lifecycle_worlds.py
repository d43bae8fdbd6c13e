"""The simulated weeks: what both arms share, what only one has, and what nobody may have seen."""

from __future__ import annotations

from functools import cache

from benchmarks.lifecycle.worlds import POISONS, Settings, World, make_world
from project_worlds.mistakes import failure

SETTINGS = Settings(projects=3, sessions=12, days=4, tasks=3)


@cache
def _world() -> World:
    return make_world(SETTINGS)


def test_both_arms_live_through_the_same_clean_sessions_in_the_same_order() -> None:
    clean, poisoned = _world().lived("clean"), _world().lived("poisoned")
    assert [each for each in poisoned if each.nature == "clean"] == clean
    assert len(clean) == 3 * 12
    assert [each.day for each in poisoned] == sorted(each.day for each in poisoned)
    assert {each.day for each in poisoned} == {0, 1, 2, 3}


def test_a_fifth_of_the_poisoned_arms_sessions_are_poisoned_by_every_kind_alike() -> None:
    natures = [each.nature for each in _world().lived("poisoned")]
    assert natures.count("clean") == 4 * sum(natures.count(kind) for kind in POISONS)
    assert {natures.count(kind) for kind in POISONS} == {3}


def test_what_is_recorded_says_of_itself_what_it_is_not() -> None:
    projects = {project.name: project for project in _world().projects}
    for session in _world().sessions:
        last = session.draft.attempts[-1]
        found = failure(projects[session.project_id], last.generated_code, session.draft.test_suite)
        assert last.tests_passed
        assert (found is None) == (session.nature in ("clean", "contradicting"))


def test_a_contradiction_comes_after_what_it_contradicts() -> None:
    known: set[tuple[str, str]] = set()
    for session in _world().sessions:
        asked = (session.project_id, session.draft.task_description)
        assert session.nature != "contradicting" or asked in known
        known.add(asked)


def test_no_final_task_was_recorded_by_anyone() -> None:
    recorded = {session.draft.task_description for session in _world().sessions}
    asked = [task.description for task in _world().tasks]
    assert len(asked) == 3 * 2 * 3
    assert not recorded & set(asked)


def test_the_same_settings_make_the_same_world_and_another_seed_makes_other_projects() -> None:
    assert make_world(SETTINGS) == _world()
    other = make_world(Settings(seed=2, projects=3, sessions=6, days=4, tasks=1))
    assert not {p.name for p in other.projects} & {p.name for p in _world().projects}
