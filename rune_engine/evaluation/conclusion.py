"""What follows from every task's verdicts: rates, intervals, generalization and fitness (S12).

    phi = alpha * pass_rate + (1 - alpha) * generalization

`pass_rate` is over held-out tasks. `generalization` is over tasks outside the adapter's domain: the
pass rate with it over the base model's, 1 at most. An adapter that harms nothing scores 1, and need
not know anything of other projects; one that halves what the base model could do scores 0.5. Where
the base model solves none of them, nothing can be harmed and nothing is known, so there is none.

Pure functions over verdicts. Knows no model and no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rune_engine.evaluation.intervals import Paired, paired
from rune_engine.evaluation.pass_at_k import mean_pass_at_k
from rune_engine.models import Difference, EvaluatedTask, TaskGroup

ALPHA = 0.7
FEWEST_TASKS = 5

Verdicts = Sequence[bool | None]


@dataclass(frozen=True, slots=True)
class Weighing:
    """How fitness follows from what was measured.

    Attributes:
        alpha: the weight of the pass rate; the rest is that of generalization.
        fewest_tasks: decided held-out tasks below which an adapter is not evaluated.
    """

    alpha: float = ALPHA
    fewest_tasks: int = FEWEST_TASKS


@dataclass(frozen=True, slots=True)
class Found:
    """One group's tasks, as far as they were decided on both sides."""

    tasks: int = 0
    undecided: int = 0
    rate: float | None = None
    base_rate: float | None = None
    difference: Paired | None = None
    outcomes: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def rate(verdicts: Verdicts) -> float | None:
    """The share of the decided samples that passed; None where none was decided."""
    decided = [verdict for verdict in verdicts if verdict is not None]
    return sum(decided) / len(decided) if decided else None


def outcomes_of(
    per_task: Iterable[EvaluatedTask], group: TaskGroup = "held_out"
) -> dict[str, tuple[float, float]]:
    """By task, with the adapter and alone: the tasks of a group that were decided on both sides."""
    found = {}
    for each in per_task:
        ours, base = rate(each.with_adapter), rate(each.with_base)
        if each.group == group and ours is not None and base is not None:
            found[each.task] = (ours, base)
    return found


def group_of(per_task: Sequence[EvaluatedTask], group: TaskGroup) -> Found:
    """What was found of one group; without an adapter there is the base model's rate alone."""
    of_group = [each for each in per_task if each.group == group]
    tasks = len(of_group)
    if not any(each.with_adapter for each in of_group):
        alone = [r for each in of_group if (r := rate(each.with_base)) is not None]
        base_rate = sum(alone) / len(alone) if alone else None
        return Found(tasks=tasks, undecided=tasks - len(alone), base_rate=base_rate)
    outcomes = outcomes_of(per_task, group)
    if not outcomes:
        return Found(tasks=tasks, undecided=tasks)
    return Found(
        tasks=tasks,
        undecided=tasks - len(outcomes),
        rate=sum(ours for ours, _ in outcomes.values()) / len(outcomes),
        base_rate=sum(base for _, base in outcomes.values()) / len(outcomes),
        difference=paired(outcomes),
        outcomes=outcomes,
    )


def generalization_of(found: Found) -> float | None:
    """How much of what the base model can do outside the domain is left, 0 to 1."""
    if found.rate is None or not found.base_rate:
        return None
    return min(1.0, found.rate / found.base_rate)


def pass_at(sides: Iterable[Verdicts], ks: Iterable[int]) -> dict[int, float]:
    """Pass@k over tasks, for each k that every decided task has enough decided samples for."""
    counts = [(len(side) - list(side).count(None), list(side).count(True)) for side in sides]
    counts = [(decided, passed) for decided, passed in counts if decided]
    fewest = min((decided for decided, _ in counts), default=0)
    return {k: mean_pass_at_k(counts, k) for k in sorted(set(ks)) if 1 <= k <= fewest}


def conclude(
    per_task: Sequence[EvaluatedTask],
    weighing: Weighing,
    ks: Iterable[int] = (1,),
    no_fitness: str | None = None,
) -> dict[str, Any]:
    """The fields of `EvaluateResult` that follow from the verdicts.

    Args:
        no_fitness: why no fitness may follow from these tasks, whatever came of them.
    """
    ks = tuple(ks)
    held_out, outside = group_of(per_task, "held_out"), group_of(per_task, "out_of_domain")
    generalization = generalization_of(outside)
    problem = no_fitness or _problem(held_out, outside, generalization, weighing)
    decided = [
        each
        for each in per_task
        if each.group == "held_out" and (each.task in held_out.outcomes or not each.with_adapter)
    ]
    fitness = None
    if problem is None:
        assert held_out.rate is not None
        rest = (1 - weighing.alpha) * generalization if generalization is not None else 0.0
        fitness = weighing.alpha * held_out.rate + rest
    return {
        "evaluated": problem is None,
        "reason": problem or _summary(held_out, outside),
        "fitness": fitness,
        "pass_rate": held_out.rate,
        "base_pass_rate": held_out.base_rate,
        "difference": _difference(held_out.difference),
        "pass_at_k": pass_at((each.with_adapter for each in decided), ks),
        "base_pass_at_k": pass_at((each.with_base for each in decided), ks),
        "generalization": generalization,
        "generalization_delta": _difference(outside.difference),
        "tasks": held_out.tasks,
        "undecided": held_out.undecided,
        "out_of_domain_tasks": outside.tasks,
        "out_of_domain_undecided": outside.undecided,
    }


def _difference(found: Paired | None) -> Difference | None:
    return None if found is None else Difference(**asdict(found))


def _problem(
    held_out: Found, outside: Found, generalization: float | None, weighing: Weighing
) -> str | None:
    """Why there is no fitness."""
    decided = len(held_out.outcomes)
    if decided < weighing.fewest_tasks:
        return (
            f"Unevaluated: {decided} of {held_out.tasks} held-out tasks were decided on both "
            f"sides, and at least {weighing.fewest_tasks} are needed."
        )
    if generalization is None and weighing.alpha < 1:
        what = (
            "the base model solves none of them, so nothing could be harmed"
            if outside.outcomes
            else "none was decided on both sides"
        )
        return f"Unevaluated: of {outside.tasks} tasks outside its domain {what}."
    return None


def _summary(held_out: Found, outside: Found) -> str:
    found = held_out.difference
    assert found is not None
    beyond = (
        f"; outside its domain {outside.rate:.1%} of {len(outside.outcomes)}, the base model alone "
        f"{outside.base_rate:.1%}"
        if outside.outcomes
        else ""
    )
    return (
        f"It solves {held_out.rate:.1%} of {found.tasks} held-out tasks, the base model alone "
        f"{held_out.base_rate:.1%} (difference {found.difference:+.3f}, 95 % interval "
        f"{found.low:+.3f} to {found.high:+.3f}){beyond}."
    )
