"""What evolution judges by: each task's score, and two adapters on the tasks both were tried on.

A score is the share of a task's samples that passed, 0 to 1. Knows no database and no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any

from rune_engine.evaluation.intervals import Paired, paired
from rune_engine.models import AdapterInfo, HierarchyLevel

FEWEST_TASKS = 5
"""Tasks that two adapters were both tried on, below which neither takes the other's place."""
BEYOND_CHANCE = 0.05
"""The largest p-value, two-sided, of a difference that decides."""

Scores = Mapping[str, float]
"""A task's score by what tells the task from others."""


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What an adapter covers, and for which base model."""

    base_model_id: str
    level: HierarchyLevel
    domain: str | None = None
    task_type: str | None = None

    def __str__(self) -> str:
        return " / ".join(filter(None, (self.level, self.domain, self.task_type)))

    def covers(self, domain: str, task_type: str) -> bool:
        """Whether a task of this domain and task type is the scope's."""
        return self.domain in (None, domain) and self.task_type in (None, task_type)


def scope_of(adapter: AdapterInfo) -> Scope:
    """What an adapter covers: a level's own columns, and none of those below it."""
    level = adapter.hierarchy_level
    return Scope(
        adapter.base_model_id,
        level,
        None if level == "project" else adapter.domain,
        adapter.task_type if level == "task" else None,
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """An adapter, and its scores on the tasks that it was not trained on.

    `base` are the base model's on the same tasks, where they were measured with them; `made` is
    when the adapter was stored, and orders by age. `keeps_up` is true of one that was made without
    training: what is recorded after it is learnt in seconds.
    """

    adapter_id: str
    outcomes: Scores
    made: str = ""
    base: Scores = field(default_factory=dict)
    keeps_up: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Which adapters go out of use, the reason in a sentence, and the numbers behind it."""

    archive: dict[str, str]
    reason: str
    numbers: dict[str, Any]


def beside(one: Scores, other: Scores) -> Paired | None:
    """`one` beside `other`, on the tasks that both were tried on; None where there is none."""
    shared = sorted(one.keys() & other.keys())
    return paired({task: (one[task], other[task]) for task in shared})


def beats(found: Paired | None) -> bool:
    """Whether the interval of the difference leaves out zero, and lies above it."""
    return found is not None and found.low > 0


def is_no_better(
    adapter: Scores, base: Scores, tasks: Collection[str], *, fewest: int = FEWEST_TASKS
) -> bool:
    """Whether an adapter has shown on `tasks` that it helps no more than the base model alone.

    It solved fewer; or as many, on at least `fewest` tasks: on one or two, of which a contradicting
    session may have made one, that is no evidence.
    """
    ours, alone = (total({t: side[t] for t in tasks}) for side in (adapter, base))
    return ours < alone or (ours == alone and len(tasks) >= fewest)


def told(found: Paired | None) -> dict[str, Any]:
    """The numbers of a comparison, for its event."""
    if found is None:
        return {"tasks": 0}
    return {
        "tasks": found.tasks,
        "difference": round(found.difference, 6),
        "interval": [round(found.low, 6), round(found.high, 6)],
        "better": found.better,
        "worse": found.worse,
        "p": round(found.p_value, 6),
    }


def words(found: Paired | None) -> str:
    """A comparison, for people."""
    if found is None:
        return "on no task that both were tried on"
    return (
        f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}] over {found.tasks} tasks, "
        f"{found.better} better and {found.worse} worse"
    )


def total(scores: Scores) -> float:
    """The tasks that were solved; a part of one where only some samples passed."""
    return fsum(scores.values())


def mean(scores: Scores) -> float:
    """The mean score; 0 where there is no task."""
    return total(scores) / len(scores) if scores else 0.0


def digest(tasks: Sequence[str]) -> str:
    """What tells a set of tasks from another."""
    return hashlib.sha256("\n".join(sorted(tasks)).encode()).hexdigest()[:16]


def count(value: float) -> str:
    """A number of solved tasks, as people write it."""
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"
