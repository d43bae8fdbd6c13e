"""What a project's developers did, and what they will be asked next.

`make_sessions` gives the sessions that an agent would have recorded; `make_held_out` gives tasks
that none of them contains: known operations combined anew, and known operations in words that no
recorded session used.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from project_worlds.names import make_helper_name
from project_worlds.operations import Operation
from project_worlds.project import Project
from project_worlds.tasks import Task, make_project_task, project_solution, random_steps


@dataclass(frozen=True, slots=True)
class Session:
    """A task and the code that was tried for it, in order; the last one is right."""

    task: Task
    attempts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Tasks kept back. No task is in both lists and none equals a recorded one."""

    new_combinations: tuple[Task, ...]
    new_wordings: tuple[Task, ...]


def _recorded_phrases(operation: Operation) -> tuple[str, ...]:
    """The wordings that recorded sessions use; the others are kept back."""
    return operation.phrases[: len(operation.phrases) // 2]


def _kept_back_phrases(operation: Operation) -> tuple[str, ...]:
    return operation.phrases[len(operation.phrases) // 2 :]


def _wrong_attempt(project: Project, task: Task, rng: random.Random) -> str:
    """What somebody new to the house writes: a helper under a name that does not exist."""
    step = rng.choice(task.steps)
    right = project.helpers[step.key]
    wrong = make_helper_name(rng, project.split, set(project.helpers.values()))
    return project_solution(project, task.steps).replace(right, wrong)


def _session_steps(project: Project, rng: random.Random, count: int) -> list[list[Operation]]:
    """Steps for `count` sessions; every operation of the project occurs in the first ones."""
    chosen: list[list[Operation]] = []
    waiting = list(project.operations)
    rng.shuffle(waiting)
    while len(chosen) < count:
        steps = random_steps(rng, project.operations, rng.choice((1, 2, 2)))
        if waiting:
            first = waiting.pop()
            steps = [first] if first.result == "number" else [first, *steps[-1:]]
            if len(steps) == 2 and steps[0] == steps[1]:
                steps = [first]
        if steps not in chosen or len(chosen) > 3 * count:
            chosen.append(steps)
    return chosen


def make_sessions(project: Project, count: int = 12) -> list[Session]:
    """`count` recorded sessions; about a third needed a second attempt."""
    rng = random.Random(f"sessions-{project.split}-{project.seed}")
    sessions: list[Session] = []
    for steps in _session_steps(project, rng, count):
        phrases = [rng.choice(_recorded_phrases(step)) for step in steps]
        task = make_project_task(project, steps, phrases, rng)
        attempts: tuple[str, ...] = (task.solution,)
        if rng.random() < 0.33:
            attempts = (_wrong_attempt(project, task, rng), task.solution)
        sessions.append(Session(task, attempts))
    return sessions


def make_held_out(project: Project, sessions: Sequence[Session], count: int = 8) -> HeldOut:
    """`count` tasks of each kind: every combination is new, or every phrase is.

    New combinations use recorded wordings in an order of two or three operations that no session
    has. New wordings use only phrases that no session may use.
    """
    rng = random.Random(f"held-out-{project.split}-{project.seed}")
    seen = {session.task.combination for session in sessions}
    combinations: list[Task] = []
    while len(combinations) < count:
        steps = random_steps(rng, project.operations, rng.choice((2, 2, 3)))
        task = make_project_task(
            project, steps, [rng.choice(_recorded_phrases(step)) for step in steps], rng
        )
        if task.combination not in seen:
            seen.add(task.combination)
            combinations.append(task)
    descriptions: set[str] = set()
    wordings: list[Task] = []
    while len(wordings) < count:
        steps = random_steps(rng, project.operations, rng.choice((1, 2, 2)))
        task = make_project_task(
            project, steps, [rng.choice(_kept_back_phrases(step)) for step in steps], rng
        )
        if task.description not in descriptions:
            descriptions.add(task.description)
            wordings.append(task)
    return HeldOut(tuple(combinations), tuple(wordings))
