"""The figures of planted answers and planted weeks are what was planted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from benchmarks.lifecycle.figures import Figures, figures_of
from benchmarks.lifecycle.policies import BASE, DIRECT, FAST, RUNE, poisoned_by
from benchmarks.lifecycle.reading import Lived
from benchmarks.lifecycle.report import assessment
from benchmarks.lifecycle.worlds import POISONS, Arm, Settings, World, make_world
from rune_engine.models import LifecycleEvent

WORLD = make_world(Settings(projects=2, sessions=12, days=2, tasks=2))
TASKS = [task.key for task in WORLD.tasks]


def _solved(count: int) -> dict[str, bool | None]:
    """The first `count` tasks."""
    return {task: number < count for number, task in enumerate(TASKS)}


def _event(seq: int, kind: str, **payload: Any) -> LifecycleEvent:
    return LifecycleEvent.model_validate(
        {
            "seq": seq,
            "at": "2026-01-01T00:00:00",
            "kind": kind,
            "subject": payload.pop("subject", "a"),
            "project_id": WORLD.projects[0].name,
            "caused_by": "schedule",
            "payload": payload,
        }
    )


def _promoted(seq: int, *interval: float) -> LifecycleEvent:
    numbers = {"against_base": {"tasks": 6, "difference": 0.5, "interval": list(interval)}}
    return _event(seq, "evolution_decided", decision="promoted", numbers=numbers)


def _lived(arm: Arm, world: World, events: Sequence[LifecycleEvent] = ()) -> Lived:
    """A week in which adapter "a" learnt from every clean and every wrong session."""
    days: list[Mapping[str, Any]] = []
    learnt, number = set(), 0
    for day in range(world.settings.days):
        rows = []
        for session in (each for each in world.lived(arm) if each.day == day):
            rows.append({"trajectory_id": f"t{number}", "nature": session.nature})
            if session.nature in ("clean", "wrong"):
                learnt.add(f"t{number}")
            number += 1
        first = 10 * day + 1
        days.append(
            {
                "day": day,
                "sessions": rows,
                "first_event": first,
                "last_event": first + 9,
                "seconds": 1.0,
            }
        )
    return Lived(
        days, list(events), {"distill succeeded": 2}, {"a": frozenset(learnt)}, {"a": "project"}
    )


def _figures(
    clean: Mapping[str, Mapping[str, bool | None]],
    poisoned: Mapping[str, Mapping[str, bool | None]],
    events: Sequence[LifecycleEvent] = (),
) -> Figures:
    lived = {"clean": _lived("clean", WORLD), "poisoned": _lived("poisoned", WORLD, events)}
    answered = dict.fromkeys(TASKS, "a")
    return figures_of(
        WORLD,
        {"clean": clean, "poisoned": poisoned},
        lived,  # type: ignore[arg-type]
        {"clean": answered, "poisoned": answered},
    )


def _promise(figures: Figures, beginning: str) -> Figures:
    [found] = [each for each in figures["promises"] if each["promise"].startswith(beginning)]
    return dict(found)


@pytest.mark.parametrize(("rune", "holds"), [(6, True), (7, True), (5, False)])
def test_rune_is_held_to_the_best_of_the_fixed_policies(rune: int, holds: bool) -> None:
    given = {RUNE: _solved(rune), BASE: _solved(0), FAST: _solved(6), DIRECT: _solved(4)}
    promise = _promise(_figures(given, given), "Rune at least the best fixed policy (poisoned")
    assert (promise["best"], promise["holds"]) == (FAST, holds)
    assert promise["value"] == pytest.approx((rune - 6) / 8)


def test_what_poison_costs_is_paired_by_task_and_a_task_without_a_verdict_counts_neither_way() -> (
    None
):
    given = {RUNE: _solved(8), FAST: _solved(8)}
    undecided = {**_solved(6), TASKS[7]: None}
    figures = _figures(given, {RUNE: undecided, poisoned_by("wrong"): _solved(4)})
    promise = _promise(figures, "Poisoned sessions cost")
    assert promise["tasks"] == 7
    assert promise["value"] == pytest.approx(-1 / 7)
    assert promise["holds"] is False
    assert figures["arms"]["poisoned"]["policies"][RUNE]["undecided"] == 1
    assert figures["poison"]["wrong"]["unguarded"]["value"] == pytest.approx(-0.5)
    assert figures["poison"]["foreign"]["unguarded"]["value"] is None


def test_which_sessions_reached_the_answering_adapters_is_told_by_what_is_wrong_with_them() -> None:
    given = {RUNE: _solved(8)}
    poison = _figures(given, given)["poison"]
    learnt = {nature: poison[nature]["learnt"] for nature in ("clean", *POISONS)}
    assert learnt == {"clean": 1.0, "wrong": 1.0, "contradicting": 0.0, "foreign": 0.0}


@pytest.mark.parametrize(
    ("events", "with_zero", "holds"),
    [
        ([_promoted(3, 0.1, 0.9)], 0, True),
        ([_promoted(3, 0.1, 0.9), _promoted(12, 0.0, 0.9)], 1, False),
        ([_event(4, "evolution_decided", decision="promoted")], 1, False),
        ([], 0, None),
    ],
)
def test_a_promotion_has_to_tell_an_interval_that_excludes_zero(
    events: list[LifecycleEvent], with_zero: int, holds: bool | None
) -> None:
    given = {RUNE: _solved(8)}
    promise = _promise(_figures(given, given, events), "No promotion")
    assert (promise["with_zero"], promise["holds"]) == (with_zero, holds)


def test_an_adapter_of_evolution_that_no_decision_tells_of_is_found() -> None:
    stored = _event(5, "adapter_stored", subject="b", source="evolution")
    promise = _promise(_figures({RUNE: _solved(8)}, {RUNE: _solved(8)}, [stored]), "No promotion")
    assert promise["untold"] == ["b"]
    assert promise["holds"] is False


def test_the_assessment_tells_the_days_the_policies_and_what_does_not_hold() -> None:
    events = [_promoted(3, -0.1, 0.9), _event(14, "adapter_archived")]
    figures = _figures({RUNE: _solved(8)}, {RUNE: _solved(4), BASE: _solved(0)}, events)
    text = assessment(
        figures
        | {
            "settings": {
                "seed": 1,
                "sessions": 8,
                "days": 2,
                "tasks": 2,
                "poisoned_share": 0.2,
                "schedule": {},
                "direct": False,
                "quick": True,
            },
            "projects": [{"name": "a", "domain": "numbers"}, {"name": "b", "domain": "words"}],
        }
    )
    [promoted] = [row for row in figures["arms"]["poisoned"]["timeline"] if row["promoted"]]
    assert promoted["day"] == 1
    assert f"| {RUNE} | 50.0 % |" in text
    assert "1 of 1" in text
    assert text.count("**no**") == 2
