"""What happens in the simulated weeks: projects, their sessions day by day, and the final tasks.

Everything follows from the settings. Both arms live through the same clean sessions on the same
days; the poisoned one has others between them. Knows neither engine nor model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from project_worlds import HeldOut, Project, Session, make_held_out, make_project, make_sessions
from project_worlds.misleading import CONTRADICTIONS, contradicting_session, wrong_session
from project_worlds.mistakes import failure
from project_worlds.operations import Kind
from rune_engine.models import Attempt, TrajectoryDraft

Nature = Literal["clean", "wrong", "contradicting", "foreign"]
POISONS: tuple[Nature, ...] = ("wrong", "contradicting", "foreign")
Arm = Literal["clean", "poisoned"]
ARMS: tuple[Arm, ...] = ("clean", "poisoned")


def natures_of(arm: Arm) -> tuple[Nature, ...]:
    """The natures of the sessions that an arm lives through."""
    return ("clean", *POISONS) if arm == "poisoned" else ("clean",)


DOMAINS: tuple[Kind, ...] = ("numbers", "words", "text")
_FIRST_WORLD = 4_100_000
"""Where nothing was chosen by: the demo's worlds begin at 10,000, the gate's at 700,000, those that
hypernetworks are trained on at 2,000,000."""
_WORLDS_A_SEED = 1_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How much happens.

    Attributes:
        sessions: of each project that are as they should be.
        poisoned_share: of all sessions of the poisoned arm.
        days: on which sessions arrive.
        tasks: that each project is asked at the end, of each of the two kinds.
    """

    seed: int = 1
    projects: int = 10
    sessions: int = 30
    poisoned_share: float = 0.2
    days: int = 15
    tasks: int = 6

    @property
    def poisoned(self) -> int:
        """Sessions of each project that are not as they should be."""
        return round(self.sessions * self.poisoned_share / (1 - self.poisoned_share))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A session as it is recorded: under which project, on which day, and what is wrong with it."""

    project_id: str
    nature: Nature
    day: int
    draft: TrajectoryDraft


@dataclass(frozen=True, slots=True)
class FinalTask:
    """A task that no session has, as a host hands it over."""

    key: str
    project_id: str
    kind: str
    domain: str
    task_type: str
    description: str
    tests: str


@dataclass(frozen=True, slots=True)
class World:
    """Everything that an arm lives through."""

    settings: Settings
    projects: tuple[Project, ...]
    sessions: tuple[Recorded, ...]
    """In the order of their arrival, the poisoned ones among them."""
    tasks: tuple[FinalTask, ...]

    def lived(self, arm: Arm) -> list[Recorded]:
        """The sessions of an arm, in the order of their arrival."""
        return [each for each in self.sessions if each.nature in natures_of(arm)]


def task_type_of(steps: int) -> str:
    """Tasks of one step and of several are done by different functions."""
    return "one-step" if steps == 1 else "several-steps"


def make_world(settings: Settings) -> World:
    """The world of these settings."""
    first = _FIRST_WORLD + settings.seed * _WORLDS_A_SEED
    projects = _projects(first, settings.projects)
    own = {p.name: make_sessions(p, settings.sessions + settings.poisoned) for p in projects}
    timed: list[tuple[float, Recorded]] = []
    tasks: list[FinalTask] = []
    for project in projects:
        others = [(p, own[p.name][: settings.sessions]) for p in projects if p is not project]
        timed += _lives(project, own[project.name], others, settings)
        tasks += _final_tasks(project, make_held_out(project, own[project.name], settings.tasks))
    timed.sort(key=lambda each: each[0])
    return World(settings, projects, tuple(each for _, each in timed), tuple(tasks))


def _projects(first: int, count: int) -> tuple[Project, ...]:
    """Projects of different names, over the domains in turn."""
    found: dict[str, Project] = {}
    seed = first
    while len(found) < count:
        domain = DOMAINS[len(found) % len(DOMAINS)]
        project = make_project(seed, "evaluation", domain)
        found.setdefault(project.name, project)
        seed += 1
    return tuple(found.values())


def _lives(
    project: Project,
    sessions: Sequence[Session],
    others: Sequence[tuple[Project, Sequence[Session]]],
    settings: Settings,
) -> list[tuple[float, Recorded]]:
    """The project's sessions, each with the moment of its arrival, from 0 to 1."""
    arrivals = random.Random(f"lifecycle-arrivals-{project.name}-{settings.seed}")
    rng = random.Random(f"lifecycle-poison-{project.name}-{settings.seed}")
    clean = [(arrivals.random(), session) for session in sessions[: settings.sessions]]
    found = [_recorded(at, project, session, "clean", project) for at, session in clean]
    for number, spare in enumerate(sessions[settings.sessions :]):
        nature = POISONS[number % len(POISONS)]
        if nature == "foreign" and others:
            of, theirs = rng.choice(others)
            found.append(_recorded(rng.random(), project, rng.choice(theirs), nature, of))
        elif nature == "contradicting":
            at, session = rng.choice(clean)
            kind = CONTRADICTIONS[number // len(POISONS) % len(CONTRADICTIONS)]
            other = contradicting_session(rng, project, session.task, kind)
            found.append(_recorded(rng.uniform(at, 1.0), project, other, nature, project))
        else:
            wrong = wrong_session(rng, project, spare.task)
            found.append(_recorded(rng.random(), project, wrong, "wrong", project))
    return [(at, replace(one, day=int(at * settings.days))) for at, one in found]


def _recorded(
    at: float, project: Project, session: Session, nature: Nature, of: Project
) -> tuple[float, Recorded]:
    """The session as an agent would record it: each attempt failed but the last, as it says."""
    task = session.task
    *failed, last = session.attempts
    attempts = [
        Attempt(
            generated_code=code,
            stderr=failure(of, code, task.tests) or "",
            exit_code=1,
            tests_passed=False,
        )
        for code in failed
    ]
    draft = TrajectoryDraft(
        project_id=project.name,
        task_description=task.description,
        test_suite=task.tests,
        attempts=[*attempts, Attempt(generated_code=last, exit_code=0, tests_passed=True)],
        outcome="success",
        domain=project.domain,
        task_type=task_type_of(len(task.steps)),
        agent_id="lifecycle",
    )
    return at, Recorded(project.name, nature, 0, draft)


def _final_tasks(project: Project, held_out: HeldOut) -> list[FinalTask]:
    kinds = {
        "new_combinations": held_out.new_combinations,
        "new_wordings": held_out.new_wordings,
    }
    return [
        FinalTask(
            key=f"{project.name}/{kind}/{number}",
            project_id=project.name,
            kind=kind,
            domain=project.domain,
            task_type=task_type_of(len(task.steps)),
            description=task.description,
            tests=task.tests,
        )
        for kind, tasks in kinds.items()
        for number, task in enumerate(tasks)
    ]
