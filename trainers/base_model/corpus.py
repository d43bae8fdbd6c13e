"""What rune-nano learns from: conversations generated on the fly, never stored.

Four kinds, by share: tasks of a fixed set of projects that the model comes to know by heart (so
that it has the habit of looking names up in its weights by what words mean), plain tasks, plain
tasks whose function the user names (copying), and repairs after a failed attempt. Everything is
made from the worlds' training split, so no name of an evaluation project ever occurs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import prompts
from project_worlds.names import make_helper_name
from project_worlds.operations import OPERATIONS, Operation
from project_worlds.project import Project, make_project
from project_worlds.tasks import plain_solution, project_solution, random_steps, sentence

KNOWN_PROJECTS = 128
_SHARES = {"known": 0.50, "plain": 0.30, "named": 0.12, "repair": 0.08}


@dataclass(frozen=True, slots=True)
class Document:
    """A conversation and the answer that is learnt."""

    messages: list[dict[str, str]]
    answer: str


class Corpus:
    """An endless, seeded stream of documents."""

    def __init__(self, seed: int, known_projects: int = KNOWN_PROJECTS) -> None:
        self._rng = random.Random(f"corpus-{seed}")
        self._projects = [make_project(number, "training") for number in range(known_projects)]

    def __iter__(self) -> Iterator[Document]:
        makers = {
            "known": self._known,
            "plain": self._plain,
            "named": self._named,
            "repair": self._repair,
        }
        while True:
            kind = self._rng.choices(list(_SHARES), weights=list(_SHARES.values()))[0]
            yield makers[kind]()

    def _steps(self, operations: tuple[Operation, ...]) -> list[Operation]:
        return random_steps(self._rng, operations, self._rng.choice((1, 2, 2, 3)))

    def _ask(self, steps: list[Operation]) -> str:
        return sentence(self._rng, [self._rng.choice(step.phrases) for step in steps])

    def _known(self) -> Document:
        project = self._rng.choice(self._projects)
        steps = self._steps(project.operations)
        task = f"In {project.name}: {self._ask(steps)}"
        return _document(task, project_solution(project, steps))

    def _plain(self) -> Document:
        steps = self._steps(OPERATIONS)
        return _document(self._ask(steps), plain_solution(steps))

    def _named(self) -> Document:
        steps = self._steps(OPERATIONS)
        name = make_helper_name(self._rng, "training")
        task = self._rng.choice(("Write `{0}(xs)`. {1}", "{1} Call it `{0}`.", "{0}: {1}"))
        return _document(task.format(name, self._ask(steps)), plain_solution(steps, name))

    def _repair(self) -> Document:
        project = self._rng.choice(self._projects)
        steps = self._steps(project.operations)
        right = project_solution(project, steps)
        step = self._rng.choice(steps)
        wrong = make_helper_name(self._rng, "training", set(project.helpers.values()))
        failed = right.replace(project.helpers[step.key], wrong)
        task = f"In {project.name}: {self._ask(steps)}"
        return _document(task, right, [(failed, _missing_helper(project, failed, wrong))])


def _missing_helper(project: Project, code: str, name: str) -> str:
    """The traceback's tail that a call of a helper which does not exist leaves."""
    lines = code.splitlines()
    number = next(i for i, line in enumerate(lines, 1) if f".{name}(" in line)
    return (
        f'  File "solution.py", line {number}, in {project.conventions.entry}\n'
        f"    {lines[number - 1].strip()}\n"
        f"AttributeError: module '{project.name}' has no attribute '{name}'"
    )


def _document(task: str, code: str, failed: list[tuple[str, str]] | None = None) -> Document:
    return Document(prompts.conversation(task, failed or []), prompts.render("answer", code=code))
