"""What a project's developers did, and what they will be asked next.

`make_sessions` gives the sessions that an agent would have recorded; `make_held_out` gives tasks
that none of them contains: known operations combined anew, and known operations in words that no
recorded session used.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from project_worlds.mistakes import MISTAKES, wrong_attempt
from project_worlds.operations import Operation
from project_worlds.project import Project, Step
from project_worlds.tasks import Task, make_project_task, make_step, random_steps


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


def recorded_phrases(operation: Operation) -> tuple[str, ...]:
    """The wordings that recorded sessions use; the others are kept back."""
    return operation.phrases[: len(operation.phrases) // 2]


def kept_back_phrases(operation: Operation) -> tuple[str, ...]:
    """The wordings that no recorded session uses."""
    return operation.phrases[len(operation.phrases) // 2 :]


def make_sessions(project: Project, count: int = 12, *, tested: bool = True) -> list[Session]:
    """`count` recorded sessions; about a third needed a second attempt.

    Without `tested` their tasks have no tests, which take the longest to make, and are others.
    """
    rng = random.Random(f"sessions-{project.split}-{project.seed}")
    sessions: list[Session] = []
    for steps in _session_steps(project, rng, count):
        task = _task(project, steps, recorded_phrases, rng, tested)
        attempts: tuple[str, ...] = (task.solution,)
        if rng.random() < 0.33:
            wrong = wrong_attempt(rng, project, task, rng.choice(MISTAKES))
            attempts = (wrong, task.solution)
        sessions.append(Session(task, attempts))
    return sessions


def _session_steps(project: Project, rng: random.Random, count: int) -> list[list[Step]]:
    """Steps for `count` sessions; every operation of the project occurs in the first ones."""
    chosen: list[list[Step]] = []
    waiting = list(project.operations)
    rng.shuffle(waiting)
    tries = 0
    while len(chosen) < count:
        tries += 1
        if waiting:
            steps = _ending_in(project, rng, waiting.pop())
        else:
            steps = random_steps(rng, project.operations, project.domain, rng.choice((1, 2, 2)))
        if _keys(steps) not in map(_keys, chosen) or tries > 3 * count:
            chosen.append(steps)
    return chosen


def _ending_in(project: Project, rng: random.Random, operation: Operation) -> list[Step]:
    """One or two steps of which the last is this operation."""
    last = make_step(rng, operation)
    before = [
        o
        for o in project.operations
        if o.takes == project.domain and o.gives == operation.takes and o != operation
    ]
    alone = operation.takes == project.domain and rng.random() < 0.4
    return [last] if alone or not before else [make_step(rng, rng.choice(before)), last]


def _keys(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(step.operation.key for step in steps)


def _task(
    project: Project,
    steps: Sequence[Step],
    phrases: Callable[[Operation], Sequence[str]],
    rng: random.Random,
    tested: bool,
) -> Task:
    wordings = [rng.choice(phrases(step.operation)) for step in steps]
    return make_project_task(project, steps, wordings, rng, tested=tested)


def make_held_out(
    project: Project, sessions: Sequence[Session], count: int = 8, *, tested: bool = True
) -> HeldOut:
    """`count` tasks of each kind: every combination is new, or every phrase is.

    New combinations use recorded wordings in an order of two or three operations that no session
    has. New wordings use only phrases that no session may use. `tested` as in `make_sessions`.
    """
    rng = random.Random(f"held-out-{project.split}-{project.seed}")
    recorded = {session.task.combination for session in sessions}
    combinations = _distinct(
        count,
        lambda: _random_task(project, (2, 2, 3), recorded_phrases, rng, tested),
        lambda task: None if task.combination in recorded else task.combination,
    )
    wordings = _distinct(
        count,
        lambda: _random_task(project, (1, 2, 2), kept_back_phrases, rng, tested),
        lambda task: task.description,
    )
    return HeldOut(combinations, wordings)


def _random_task(
    project: Project,
    lengths: Sequence[int],
    phrases: Callable[[Operation], Sequence[str]],
    rng: random.Random,
    tested: bool,
) -> Task:
    steps = random_steps(rng, project.operations, project.domain, rng.choice(lengths))
    return _task(project, steps, phrases, rng, tested)


def _distinct(
    count: int, draw: Callable[[], Task], identity: Callable[[Task], object | None]
) -> tuple[Task, ...]:
    """`count` tasks that are not the same; those whose identity is None do not count."""
    found: dict[object, Task] = {}
    while len(found) < count:
        task = draw()
        if (key := identity(task)) is not None:
            found.setdefault(key, task)
    return tuple(found.values())
