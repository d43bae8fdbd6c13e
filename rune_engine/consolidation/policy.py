"""What is due to be distilled, and which tasks are kept back from it.

Pure functions over plain data: no clock, no database, no randomness. The same facts give the same
answer, so an engine that was killed decides again what its predecessor decided.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product, takewhile

from rune_engine.config import ConsolidationSettings
from rune_engine.models import HierarchyLevel

FEWEST_KEPT_BACK = 2
FEWEST_TRAINED = 1
BACK_OFF = timedelta(days=1)
"""How long a scope rests whose distillation failed, unless enough is new before."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the policy knows of one trajectory that is distillable, or that was held out."""

    id: str
    project_id: str
    domain: str
    task_type: str
    task: str
    """What tells the task from another: trajectories of one task share it, and so do those whose
    tasks are nearly the same (`evaluation.near`)."""
    has_tests: bool
    held_out: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What an adapter covers: a project, one of its domains, or a task type within a domain."""

    project_id: str
    domain: str | None = None
    task_type: str | None = None

    @property
    def level(self) -> HierarchyLevel:
        if self.task_type is not None:
            return "task"
        return "project" if self.domain is None else "domain"

    def __str__(self) -> str:
        return " / ".join(filter(None, (self.project_id, self.domain, self.task_type)))

    def covers(self, lesson: Lesson) -> bool:
        return (
            lesson.project_id == self.project_id
            and self.domain in (None, lesson.domain)
            and self.task_type in (None, lesson.task_type)
        )


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one stored adapter saw: trajectories it was trained on, and ones kept back from it.

    `fast` ones were made without training. `stands_in` is true of those among them that were made
    because a user asked for an adapter and left open which.
    """

    scope: Scope
    trained: frozenset[str]
    kept_back: frozenset[str]
    fast: bool = False
    stands_in: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """The last try to distill a scope, when it did not end in an adapter."""

    scope: Scope
    job_id: str
    ids: frozenset[str]
    """Every trajectory it was given, trained on or kept back."""
    ended_at: datetime
    reason: str
    fast: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that `agenda` judges from; `learnt` has the oldest adapter first."""

    base_model_id: str
    lessons: Sequence[Lesson]
    learnt: Sequence[Learnt] = ()
    failures: Sequence[Failure] = ()
    has_fast: bool = False
    """Whether the base model has a way that trains nothing."""


@dataclass(frozen=True, slots=True)
class Due:
    """One adapter that should be made: trained, or `fast`."""

    scope: Scope
    base_model_id: str
    trained: tuple[str, ...]
    kept_back: tuple[str, ...]
    new: int
    fast: bool = False

    @property
    def key(self) -> str:
        """The job's idempotency key: the same work has the same key, whoever asks for it."""
        scope = (self.scope.project_id, self.scope.domain or "", self.scope.task_type or "")
        lines = [*scope, self.base_model_id, *sorted(self.trained), "", *sorted(self.kept_back)]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return f"{'update' if self.fast else 'consolidate'}:{digest}"


@dataclass(frozen=True, slots=True)
class Resting:
    """A scope that would be due, had its last try not failed."""

    failure: Failure
    until: datetime


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is due, in the order to do it, and what rests."""

    due: list[Due] = field(default_factory=list)
    resting: list[Resting] = field(default_factory=list)


def agenda(facts: Facts, settings: ConsolidationSettings, now: datetime) -> Agenda:
    """What should be distilled at `now`: without training first; projects, domains, task types."""
    found, ways = Agenda(), (True, False) if facts.has_fast and settings.fast else (False,)
    projects: dict[str, list[Lesson]] = defaultdict(list)
    for lesson in facts.lessons:
        projects[lesson.project_id].append(lesson)
    for project_id in sorted(projects):
        for scope, fast in product(scopes(project_id, projects[project_id]), ways):
            due = _due(scope, projects[project_id], facts, settings, fast=fast)
            if due is not None:
                _place(found, due, facts.failures, settings, now)
    levels = ("project", "domain", "task")
    found.due.sort(key=lambda due: (not due.fast, levels.index(due.scope.level)))
    return found


def scopes(project_id: str, lessons: Iterable[Lesson]) -> list[Scope]:
    """Every scope a project could have an adapter for; a level needs two groups to be one."""
    usable = [lesson for lesson in lessons if not lesson.held_out]
    domains = sorted({lesson.domain for lesson in usable})
    found = [Scope(project_id)]
    if len(domains) > 1:
        found += [Scope(project_id, domain) for domain in domains]
    if len({lesson.task_type for lesson in usable}) > 1:
        groups = sorted({(lesson.domain, lesson.task_type) for lesson in usable})
        found += [Scope(project_id, domain, task_type) for domain, task_type in groups]
    return found


def enough(settings: ConsolidationSettings, *, fast: bool) -> int:
    """How many new trajectories are worth another adapter of a scope."""
    return settings.fast_min_new if fast else settings.min_new


def _due(
    scope: Scope,
    project: Sequence[Lesson],
    facts: Facts,
    settings: ConsolidationSettings,
    *,
    fast: bool,
) -> Due | None:
    """The scope's next adapter, or None while too little is there, or too little is new.

    Each way goes by itself: what only the other one has learnt is new to it.
    """
    lessons = [lesson for lesson in project if scope.covers(lesson)]
    usable = [lesson for lesson in lessons if not lesson.held_out]
    earlier = [learnt for learnt in reversed(facts.learnt) if learnt.scope == scope]
    last = next((learnt for learnt in earlier if learnt.fast == fast), None)
    seen = last.trained | last.kept_back if last else frozenset()
    new = sum(lesson.id not in seen for lesson in usable)
    is_due = len(usable) >= settings.min_trajectories and new >= enough(settings, fast=fast)
    if not is_due and (fast or not new or not _is_owed(earlier)):
        return None
    kept = kept_back_tasks(lessons, project, facts.learnt, settings.kept_back_share)
    trained = tuple(lesson.id for lesson in usable if lesson.task not in kept)
    if len(trained) < FEWEST_TRAINED:
        return None
    kept_back = tuple(sorted(lesson.id for lesson in lessons if lesson.task in kept))
    return Due(scope, facts.base_model_id, trained, kept_back, new, fast)


def _is_owed(earlier: Iterable[Learnt]) -> bool:
    """Whether a user was given a fast adapter to stand in for a trained one that has not followed.

    Args:
        earlier: the scope's adapters, the newest first.
    """
    since_training = takewhile(lambda learnt: learnt.fast, earlier)
    return any(learnt.stands_in for learnt in since_training)


def kept_back_tasks(
    lessons: Sequence[Lesson], project: Sequence[Lesson], learnt: Sequence[Learnt], share: float
) -> frozenset[str]:
    """The tasks among `lessons` that an adapter must not learn from.

    Those that any adapter of the project, of whatever level, was kept from, those of which one
    trajectory is held out, and as many more as `share` asks for: with tests before without, never
    trained on before trained on, then by hash. So a task that is kept back stays so.

    Args:
        project: every lesson of the project; `lessons` are the scope's.
    """
    task_of = {lesson.id: lesson.task for lesson in project}
    trained = {task_of[i] for adapter in learnt for i in adapter.trained if i in task_of}
    kept = {task_of[i] for adapter in learnt for i in adapter.kept_back if i in task_of}
    kept |= {lesson.task for lesson in project if lesson.held_out}
    tasks = {lesson.task for lesson in lessons}
    tested = {lesson.task for lesson in lessons if lesson.has_tests}
    chosen = tasks & kept
    wanted = max(FEWEST_KEPT_BACK, math.ceil(share * len(tasks))) if share else 0
    more = sorted(tasks - kept, key=lambda task: (task not in tested, task in trained, task))
    chosen |= set(more[: max(0, wanted - len(chosen))])
    return frozenset(chosen)


def _place(
    found: Agenda,
    due: Due,
    failures: Sequence[Failure],
    settings: ConsolidationSettings,
    now: datetime,
) -> None:
    """Put what is due where it belongs: on the list, or to rest after a failure."""
    tried = (due.scope, due.fast)
    failure = next((each for each in failures if (each.scope, each.fast) == tried), None)
    if failure is None:
        found.due.append(due)
        return
    ids = {*due.trained, *due.kept_back}
    until = failure.ended_at + BACK_OFF
    # A clock that was set back must not make it rest for longer.
    rests = failure.ended_at <= now < until
    if len(ids - failure.ids) >= enough(settings, fast=due.fast) or not rests:
        found.due.append(due)
    else:
        found.resting.append(Resting(failure, until))
