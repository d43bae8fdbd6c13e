"""Tasks by which adapters are judged: what one is, and what tells it from another.

Knows no model, no sandbox and no database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rune_engine.models import TaskGroup, Trajectory


@dataclass(frozen=True, slots=True)
class HeldOutTask:
    """One task.

    Attributes:
        group: whether it belongs to what the adapter was made for.
        trajectory_id: of the user's own trajectory that it comes from.
        reference: code known to pass the tests where they were recorded. Where it does not pass
            them here, something is missing, and nobody is judged by this task.
        workspace: a folder that its code may import from.
        sealed: whether that folder always holds the same, so that verdicts may be remembered.
        answer: the literal to answer with, instead of code; see `evaluation.predicting`.
    """

    description: str
    tests: str
    group: TaskGroup = "held_out"
    trajectory_id: str | None = None
    reference: str | None = None
    workspace: Path | None = None
    sealed: bool = False
    answer: str | None = None

    @property
    def task(self) -> str:
        """What tells it from another: two trajectories may be of the same task."""
        return task_hash(self.description, self.tests)


def task_hash(description: str, tests: str) -> str:
    """SHA-256 of a task's description and tests."""
    text = "\0".join((description, tests))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def task_of(
    trajectory: Trajectory, workspace: Path | None = None, group: TaskGroup = "held_out"
) -> HeldOutTask:
    """The task that a trajectory is about, with the code that passed, if some did."""
    last = trajectory.attempts[-1]
    passed = trajectory.outcome == "success" and last.tests_passed is not False
    return HeldOutTask(
        description=trajectory.task_description,
        tests=trajectory.test_suite,
        group=group,
        trajectory_id=trajectory.id,
        reference=last.generated_code if passed else None,
        workspace=workspace,
    )


def distinct(tasks: Iterable[HeldOutTask]) -> list[HeldOutTask]:
    """Those that have tests, each task once."""
    found: dict[str, HeldOutTask] = {}
    for each in tasks:
        if each.tests.strip():
            found.setdefault(each.task, each)
    return list(found.values())
