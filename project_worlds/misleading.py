"""Sessions that mislead whoever learns from them: what a memory must bear.

A wrong one claims success for code that its own tests fail. A contradicting one asks for an earlier
task in the same words and does it by another rule; its tests agree with it, so that nothing but
the earlier sessions speaks against it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from project_worlds.mistakes import MISTAKES, MistakeKind, failure, wrong_attempt
from project_worlds.project import EMPTY_STATEMENTS, ENTRY_NAMES, Project
from project_worlds.sessions import Session
from project_worlds.tasks import Task, make_tests

ContradictionKind = Literal["entry", "empty", "helper"]
CONTRADICTIONS: tuple[ContradictionKind, ...] = ("entry", "empty", "helper")

_TRIES = 20


def wrong_session(rng: random.Random, project: Project, task: Task) -> Session:
    """A session that claims success, with one mistake in its code or another helper called."""
    kinds: tuple[MistakeKind | None, ...] = (*MISTAKES, None)
    for kind in rng.sample(kinds, len(kinds)):
        if kind is None:
            code = _other_helper(rng, project, task)
        else:
            code = wrong_attempt(rng, project, task, kind)
        if code is not None and failure(project, code, task.tests) is not None:
            return Session(task, (code,))
    raise AssertionError("a misspelt helper's name always fails")


def contradicting_session(
    rng: random.Random, project: Project, task: Task, kind: ContradictionKind
) -> Session:
    """The same task in the same words, done by another rule, with tests that this passes.

    entry: the function has another name; empty: an empty input gets something else; helper: one
    step is done by another helper of the house, or, where none fits, as in `entry`.
    """
    changed, code = _CONTRADICTIONS[kind](rng, project, task)
    tests = make_tests(rng, task.steps, code, changed)
    return Session(replace(task, solution=code, tests=tests), (code,))


def _entry(rng: random.Random, project: Project, task: Task) -> tuple[Project, str]:
    rules = project.conventions
    name = rng.choice([each for each in ENTRY_NAMES if each != rules.entry])
    code = task.solution.replace(f"def {rules.entry}(", f"def {name}(")
    return replace(project, conventions=replace(rules, entry=name)), code


def _empty(rng: random.Random, project: Project, task: Task) -> tuple[Project, str]:
    rules = project.conventions
    statement = rng.choice([each for each in EMPTY_STATEMENTS if each != rules.empty])
    code = task.solution.replace(rules.empty, statement, 1)
    return replace(project, conventions=replace(rules, empty=statement)), code


def _helper(rng: random.Random, project: Project, task: Task) -> tuple[Project, str]:
    for _ in range(_TRIES):
        code = _other_helper(rng, project, task)
        if code is not None and failure(project, code, task.tests) is not None:
            return project, code
    return _entry(rng, project, task)


def _other_helper(rng: random.Random, project: Project, task: Task) -> str | None:
    """The task's solution with one helper exchanged for another that takes and gives the same."""
    operation = rng.choice(task.steps).operation
    alike = [
        other
        for other in project.operations
        if other is not operation
        and (other.takes, other.gives) == (operation.takes, operation.gives)
        and other.has_number == operation.has_number
    ]
    if not alike:
        return None
    right, wrong = project.helpers[operation.key], project.helpers[rng.choice(alike).key]
    return task.solution.replace(right, wrong)


_CONTRADICTIONS: Mapping[
    ContradictionKind, Callable[[random.Random, Project, Task], tuple[Project, str]]
] = {"entry": _entry, "empty": _empty, "helper": _helper}
