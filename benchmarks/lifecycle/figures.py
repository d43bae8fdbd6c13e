"""The figures of a run: Pass@1 of every policy, what the poison cost, and what must hold.

Pure functions over answers and over what was read of the homes. Intervals draw whole projects:
the tasks of one stand and fall together. A task without a verdict is no failure; it is left out, on
both sides of a comparison.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from benchmarks.lifecycle.policies import BASE, FAST, FIXED, RUNE, poisoned_by
from benchmarks.lifecycle.reading import Lived, count, promotions, widened
from benchmarks.lifecycle.worlds import ARMS, POISONS, Arm, World
from rune_engine.evaluation.intervals import Estimate, estimate

MOST_HARM = 0.03
"""The most Pass@1 that poisoned sessions may cost."""

Figures = dict[str, Any]
Outcomes = Mapping[str, bool | None]
"""Whether each final task was solved, by its key; None where no verdict was reached."""


def figures_of(
    world: World,
    outcomes: Mapping[Arm, Mapping[str, Outcomes]],
    lived: Mapping[Arm, Lived],
    answered_by: Mapping[Arm, Mapping[str, str | None]],
) -> Figures:
    """Everything that the assessment tells, JSON-ready.

    Args:
        outcomes: by arm and policy.
        answered_by: the adapter that Rune chose for each task, by arm.
    """
    projects = {task.key: task.project_id for task in world.tasks}
    kinds = {task.key: task.kind for task in world.tasks}
    found: Figures = {
        "arms": {
            arm: {
                "policies": {
                    policy: _rates(given, projects, kinds)
                    for policy, given in outcomes[arm].items()
                },
                "counts": count(lived[arm].events),
                "jobs": dict(lived[arm].jobs),
                "timeline": timeline(lived[arm]),
                "promotions": promotions(lived[arm].events),
                "untold": widened(lived[arm].events),
                "levels": _levels(lived[arm], answered_by[arm]),
            }
            for arm in outcomes
        },
        "poison": {},
    }
    if "poisoned" in outcomes:
        found["poison"] = _poison(world, outcomes, lived, answered_by, projects)
    found["promises"] = promises(found, outcomes, projects)
    return found


def _rates(given: Outcomes, projects: Mapping[str, str], kinds: Mapping[str, str]) -> Figures:
    decided = {task: float(passed) for task, passed in given.items() if passed is not None}
    whole = estimate(_by_project(decided, projects))
    by_kind: dict[str, list[float]] = defaultdict(list)
    for task, passed in decided.items():
        by_kind[kinds[task]].append(passed)
    return {
        **_told(whole),
        "undecided": len(given) - len(decided),
        "by_kind": {kind: sum(each) / len(each) for kind, each in sorted(by_kind.items())},
    }


def _told(found: Estimate | None) -> Figures:
    if found is None:
        return {"value": None, "interval": None, "tasks": 0}
    return {"value": found.value, "interval": found.interval, "tasks": found.tasks}


def _by_project(values: Mapping[str, float], projects: Mapping[str, str]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for task in sorted(values):
        found[projects[task]].append(values[task])
    return found


def gain(one: Outcomes, other: Outcomes, projects: Mapping[str, str]) -> Figures:
    """`one` less `other`, paired by task, with its interval over projects."""
    both = {
        task: float(bool(one[task])) - float(bool(other[task]))
        for task in one.keys() & other.keys()
        if one[task] is not None and other[task] is not None
    }
    return _told(estimate(_by_project(both, projects)))


def timeline(lived: Lived) -> list[Figures]:
    """A row a day: the sessions that came, what followed, and how long that took."""
    rows = []
    for day in lived.days:
        within = [e for e in lived.events if day["first_event"] <= e.seq <= day["last_event"]]
        natures = [each["nature"] for each in day["sessions"]]
        rows.append(
            {
                "day": day["day"] + 1,
                "sessions": len(natures),
                "poisoned": sum(nature != "clean" for nature in natures),
                **count(within),
                "seconds": day["seconds"],
            }
        )
    return rows


def _levels(lived: Lived, answered_by: Mapping[str, str | None]) -> dict[str, int]:
    """How many final tasks an adapter of each level answered."""
    levels = [lived.levels[each] if each else "no adapter" for each in answered_by.values()]
    return {level: levels.count(level) for level in sorted(set(levels))}


def _poison(
    world: World,
    outcomes: Mapping[Arm, Mapping[str, Outcomes]],
    lived: Mapping[Arm, Lived],
    answered_by: Mapping[Arm, Mapping[str, str | None]],
    projects: Mapping[str, str],
) -> Figures:
    """By kind: how many sessions, what they cost unguarded, how many Rune's answers learnt from."""
    clean, poisoned = outcomes.get("clean", {}), outcomes["poisoned"]
    reached = _reached(lived["poisoned"], answered_by["poisoned"], projects, world)
    return {
        nature: {
            "sessions": sum(each.nature == nature for each in world.sessions),
            "unguarded": gain(poisoned[poisoned_by(nature)], clean[FAST], projects)
            if FAST in clean and poisoned_by(nature) in poisoned
            else _told(None),
            "learnt": reached[nature],
        }
        for nature in ("clean", *POISONS)
    }


def _reached(
    lived: Lived,
    answered_by: Mapping[str, str | None],
    projects: Mapping[str, str],
    world: World,
) -> dict[str, float | None]:
    """The share of each nature's sessions that the adapter of a final task had learnt from."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    recorded = [each for day in range(world.settings.days) for each in _of_day(world, day)]
    stored = [each for day in lived.days for each in day["sessions"]]
    for session, row in zip(recorded, stored, strict=True):
        ids[session.project_id, session.nature].add(row["trajectory_id"])
    shares: dict[str, list[float]] = defaultdict(list)
    for task, adapter in answered_by.items():
        for (project, nature), sessions in ids.items():
            if project == projects[task]:
                learnt = lived.learnt.get(adapter or "", frozenset())
                shares[nature].append(len(sessions & learnt) / len(sessions))
    natures = ("clean", *POISONS)
    return {n: sum(shares[n]) / len(shares[n]) if shares[n] else None for n in natures}


def _of_day(world: World, day: int) -> list[Any]:
    return [each for each in world.lived("poisoned") if each.day == day]


def promises(
    found: Figures, outcomes: Mapping[Arm, Mapping[str, Outcomes]], projects: Mapping[str, str]
) -> list[Figures]:
    """What must hold, with the numbers, and whether it does: null where it was not measured."""
    judged = [_at_least_fixed(arm, outcomes[arm], projects) for arm in ARMS if arm in outcomes]
    if all(RUNE in outcomes.get(arm, {}) for arm in ARMS):
        harm = gain(outcomes["poisoned"][RUNE], outcomes["clean"][RUNE], projects)
        judged.append(
            {
                "promise": "Poisoned sessions cost Rune at most 3 points of Pass@1",
                **harm,
                "holds": harm["value"] is not None and harm["value"] >= -MOST_HARM,
            }
        )
    every = [each for arm in found["arms"].values() for each in arm["promotions"]]
    untold = [each for arm in found["arms"].values() for each in arm["untold"]]
    judged.append(
        {
            "promise": "No promotion whose held-out interval against base includes zero",
            "promotions": len(every),
            "with_zero": sum(not each["excludes_zero"] for each in every),
            "untold": untold,
            "holds": all(each["excludes_zero"] for each in every) and not untold
            if every or untold
            else None,
        }
    )
    return judged


def _at_least_fixed(
    arm: Arm, given: Mapping[str, Outcomes], projects: Mapping[str, str]
) -> Figures:
    """Rune beside the best of the fixed policies that were asked in this arm."""
    rates = {policy: _mean(given[policy]) for policy in FIXED if policy in given}
    best = max(rates, key=lambda policy: rates[policy], default=BASE)
    difference = gain(given.get(RUNE, {}), given.get(best, {}), projects)
    return {
        "promise": f"Rune at least the best fixed policy ({arm} sessions)",
        "best": best,
        "left_out": [policy for policy in FIXED if policy not in given],
        **difference,
        "holds": None if difference["value"] is None else difference["value"] >= 0,
    }


def _mean(given: Outcomes) -> float:
    decided = [passed for passed in given.values() if passed is not None]
    return sum(decided) / len(decided) if decided else 0.0
