"""What is taught and what is asked: generated worlds, or a suite in HumanEval's format.

A subject is one project; all that its adapter learns from is in `lessons`, all that it is judged
by in `tasks`. Knows neither models nor adapters, and runs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from project_worlds import (
    Project,
    Session,
    Task,
    make_held_out,
    make_plain_task,
    make_project,
    make_sessions,
)
from project_worlds.mistakes import MISTAKES, wrong_attempt
from rune_engine.errors import InvalidInputError
from rune_engine.evaluation.suites import SuiteTask, load_suite
from rune_engine.experiments.settings import GateSettings

PLAIN = "plain"
SUITE = "suite"
NEW_COMBINATIONS = "new_combinations"
NEW_WORDINGS = "new_wordings"

_FIRST_WORLD = 700_000
"""The demo's worlds begin at 10,000, those that hypernetworks are trained on at 2,000,000."""
_WORLDS_A_SEED = 1_000
_MOST_SEEDS = 300


@dataclass(frozen=True, slots=True)
class Lesson:
    """A session to record: what was asked, and the code that was tried; the last one is right."""

    description: str
    tests: str
    attempts: tuple[str, ...]
    operations: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GateTask:
    """A task that is held out.

    Attributes:
        key: tells it from every other task of the run.
        operations: what it asks for, in order, where that is known.
        phrases: in which words.
        wrong: a failed attempt at it, to be repaired; None where there is none.
    """

    key: str
    kind: str
    description: str
    tests: str
    solution: str
    operations: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """A project.

    Attributes:
        group: subjects of a group lend each other adapters, to see whether a wrong one helps.
        files: packages that its code imports, by relative path.
        names: words that no base model may have been trained on.
    """

    name: str
    group: int
    lessons: tuple[Lesson, ...]
    tasks: tuple[GateTask, ...]
    plain: tuple[GateTask, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def make_subjects(settings: GateSettings) -> list[Subject]:
    """The subjects that the settings ask for.

    Raises:
        InvalidInputError: the suite cannot be read or is too small, or there are no such seeds.
    """
    if settings.suite is not None:
        return [suite_subject(load_suite(settings.suite), settings)]
    return [
        world_subject(seed, number, settings)
        for seed in settings.seeds
        for number in range(settings.projects)
    ]


def world_subject(seed: int, number: int, settings: GateSettings) -> Subject:
    """The project of this number among those of the seed.

    Raises:
        InvalidInputError: there are no such worlds.
    """
    if not (0 <= seed < _MOST_SEEDS and 0 <= number < _WORLDS_A_SEED):
        raise InvalidInputError(
            f"There is no world {number} of seed {seed}.",
            next_step=f"Give seeds below {_MOST_SEEDS} and at most {_WORLDS_A_SEED} projects.",
        )
    world = _FIRST_WORLD + _WORLDS_A_SEED * seed + number
    project = make_project(world, "evaluation")
    sessions = make_sessions(project, settings.sessions)
    name = f"{seed}-{number}-{project.name}"
    rng = random.Random(f"gate-{world}")
    return Subject(
        name=name,
        group=seed,
        lessons=tuple(map(_lesson, sessions)),
        tasks=_held_out(project, sessions, name, settings.tasks, rng),
        plain=tuple(
            _task(f"{name}/{PLAIN}/{n}", PLAIN, make_plain_task(rng)) for n in range(settings.plain)
        ),
        files={f"{project.name}/__init__.py": project.source()},
        names=(project.name, *project.helpers.values()),
    )


def _held_out(
    project: Project, sessions: Sequence[Session], name: str, count: int, rng: random.Random
) -> tuple[GateTask, ...]:
    kept_back = make_held_out(project, sessions, count)
    kinds = {
        NEW_COMBINATIONS: kept_back.new_combinations,
        NEW_WORDINGS: kept_back.new_wordings,
    }
    return tuple(
        _task(
            f"{name}/{kind}/{number}",
            kind,
            task,
            wrong_attempt(rng, project, task, rng.choice(MISTAKES)),
        )
        for kind, tasks in kinds.items()
        for number, task in enumerate(tasks)
    )


def _lesson(session: Session) -> Lesson:
    task = session.task
    return Lesson(task.description, task.tests, session.attempts, task.combination, task.phrases)


def _task(key: str, kind: str, task: Task, wrong: str | None = None) -> GateTask:
    return GateTask(
        key=key,
        kind=kind,
        description=task.description,
        tests=task.tests,
        solution=task.solution,
        operations=task.combination,
        phrases=task.phrases,
        wrong=wrong,
    )


def suite_subject(tasks: Sequence[SuiteTask], settings: GateSettings) -> Subject:
    """One subject: a seeded part of the tasks is taught with its reference solutions.

    Raises:
        InvalidInputError: the suite is too small to be parted.
    """
    count = round(len(tasks) * settings.suite_share)
    if not 0 < count < len(tasks):
        raise InvalidInputError(
            f"A suite of {len(tasks)} tasks cannot be parted in what is taught and what is asked.",
            next_step="Use a larger suite, or another --suite-share.",
        )
    shuffled = random.Random(f"gate-suite-{settings.seed}").sample(list(tasks), len(tasks))
    taught, asked = shuffled[:count], shuffled[count:]
    path = settings.suite or Path("suite")
    return Subject(
        name=_identifier(path.name.partition(".")[0]),
        group=0,
        lessons=tuple(
            Lesson(t.task_description, t.test_suite, (t.reference_solution,)) for t in taught
        ),
        tasks=tuple(
            GateTask(t.task_id, SUITE, t.task_description, t.test_suite, t.reference_solution)
            for t in asked
        ),
    )


def _identifier(name: str) -> str:
    """`name` as an id may be spelt."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in name)
    return (kept.strip("-_") or SUITE)[:40]
