"""What rune-nano learns from: conversations generated on the fly, never stored.

By heart: tasks of a fixed set of projects, nothing in context, so that the model has the habit of
looking names up in its weights by what words mean. In context: projects that are new each time,
shown by their earlier sessions or their documentation. And plain tasks, repairs, step lists.
Everything is made from the worlds' training split, so no name of an evaluation project ever occurs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import prompts
from project_worlds.mistakes import MISTAKES, failure, wrong_attempt
from project_worlds.names import Split, make_helper_name
from project_worlds.operations import OPERATIONS
from project_worlds.project import DOMAINS, Project, make_project
from project_worlds.tasks import (
    Task,
    make_plain_task,
    make_project_task,
    make_step,
    plain_solution,
    random_steps,
    sentence,
)
from rune_engine.feedback import shown

KNOWN_PROJECTS = 160
_FIRST_FRESH = 1_000_000
"""Seeds from here on are projects that are seen once."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message; of an assistant's, whether it is learnt and what in it cannot be known yet."""

    role: str
    content: str
    learnt: bool = False
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A conversation."""

    kind: str
    turns: list[Turn]


@dataclass(slots=True)
class _Conversation:
    """A conversation that grows by a task at a time."""

    turns: list[Turn] = field(default_factory=lambda: [Turn("system", prompts.render("system"))])
    seen: str = ""

    def ask(self, text: str) -> None:
        self.turns.append(Turn("user", prompts.render("task", task_description=text)))

    def answer(self, text: str, *, learnt: bool, unknown: tuple[str, ...] = ()) -> None:
        self.turns.append(Turn("assistant", text, learnt, unknown))

    def code(self, code: str, *, learnt: bool = True, unknown: tuple[str, ...] = ()) -> None:
        self.answer(prompts.render("answer", code=code), learnt=learnt, unknown=unknown)

    def failed(self, code: str, output: str) -> None:
        self.code(code, learnt=False)
        self.turns.append(Turn("user", prompts.render("repair", output=output)))


class Corpus:
    """An endless, seeded stream of documents.

    Args:
        shares: how often each kind occurs; see `SHORT` and `LONG`.
        split: where the names of the projects in context are from.
    """

    def __init__(
        self,
        seed: int,
        shares: Mapping[str, float],
        split: Split = "training",
        known: int = KNOWN_PROJECTS,
    ) -> None:
        self._rng = random.Random(f"corpus-{split}-{seed}-{sorted(shares)}")
        self._shares = shares
        self._split = split
        self._known_projects = [make_project(number, "training") for number in range(known)]

    def __iter__(self) -> Iterator[Document]:
        makers: dict[str, Callable[[], _Conversation]] = {
            "known": self._known,
            "plain": self._plain,
            "named": self._named,
            "documented": self._documented,
            "repaired": self._repaired,
            "listed": self._listed,
            "sessions": self._sessions,
            "index": self._index,
        }
        while True:
            kind = self._rng.choices(list(self._shares), weights=list(self._shares.values()))[0]
            yield Document(kind, makers[kind]().turns)

    def _fresh(self) -> Project:
        return make_project(self._rng.randrange(_FIRST_FRESH, 10**9), self._split)

    def _task(self, project: Project, lengths: tuple[int, ...] = (1, 2, 2, 3)) -> Task:
        count = self._rng.choice(lengths)
        steps = random_steps(self._rng, project.operations, project.domain, count)
        wordings = [self._rng.choice(step.operation.phrases) for step in steps]
        return make_project_task(project, steps, wordings, self._rng, tested=False)

    # --- nothing in context --------------------------------------------------------------------

    def _known(self) -> _Conversation:
        conversation = _Conversation()
        task = self._task(self._rng.choice(self._known_projects))
        conversation.ask(task.description)
        conversation.code(task.solution)
        return conversation

    def _plain(self) -> _Conversation:
        conversation = _Conversation()
        task = make_plain_task(self._rng, tested=False)
        conversation.ask(task.description)
        conversation.code(task.solution)
        return conversation

    def _named(self) -> _Conversation:
        conversation = _Conversation()
        steps = random_steps(
            self._rng, OPERATIONS, self._rng.choice(DOMAINS), self._rng.choice((1, 2, 2))
        )
        asked = sentence(self._rng, steps, [self._rng.choice(s.operation.phrases) for s in steps])
        name = make_helper_name(self._rng, self._split)
        frame = self._rng.choice(("Write `{0}(xs)`. {1}", "{1} Call it `{0}`.", "{0}: {1}"))
        conversation.ask(frame.format(name, asked))
        conversation.code(plain_solution(steps, name))
        return conversation

    # --- everything in context -----------------------------------------------------------------

    def _documented(self) -> _Conversation:
        project, conversation = self._fresh(), _Conversation()
        tasks = [self._task(project) for _ in range(self._rng.choice((1, 2, 3)))]
        conversation.ask(f"{project.documentation()}\n\n{tasks[0].description}")
        for number, task in enumerate(tasks):
            if number:
                conversation.ask(task.description)
            conversation.code(task.solution)
        return conversation

    def _repaired(self) -> _Conversation:
        """A task, a failed attempt and what running it said, and the repaired code."""
        known = self._rng.random() < 0.25
        project = self._rng.choice(self._known_projects) if known else self._fresh()
        conversation = _Conversation()
        self._repair(conversation, project)
        return conversation

    def _repair(self, conversation: _Conversation, project: Project) -> None:
        steps = random_steps(
            self._rng, project.operations, project.domain, self._rng.choice((1, 2, 2, 3))
        )
        wordings = [self._rng.choice(step.operation.phrases) for step in steps]
        task = make_project_task(project, steps, wordings, self._rng)
        wrong = wrong_attempt(self._rng, project, task, self._rng.choice(MISTAKES))
        output = failure(project, wrong, task.tests)
        conversation.ask(task.description)
        if output is not None:
            conversation.failed(wrong, shown(output))
        conversation.code(task.solution, learnt=output is not None)

    def _listed(self) -> _Conversation:
        """The steps of a task in the words that code has above them; with the calls, in a plan."""
        plan = self._rng.random() < 0.5
        conversation = _Conversation()
        project = self._rng.choice(self._known_projects)
        if plan and self._rng.random() < 0.5:
            project = self._fresh()
            conversation.turns.append(Turn("user", project.documentation()))
        task = self._task(project, (2, 2, 3))
        template = "plan" if plan else "decompose"
        asked = prompts.render(template, task_description=task.description)
        conversation.turns.append(Turn("user", asked))
        lines = [
            f"{number}. {step.title}" + (f": {project.call(step)}" if plan else "")
            for number, step in enumerate(task.steps, 1)
        ]
        conversation.answer("\n".join(lines), learnt=True)
        return conversation

    def _sessions(self) -> _Conversation:
        """A new project's sessions one after the other; each shows something of it."""
        project, conversation = self._fresh(), _Conversation()
        known = self._rng.random() < 0.1
        if known:
            project = self._rng.choice(self._known_projects)
        seen: set[str] = set()
        repairs = self._rng.random() < 0.2
        for number in range(self._rng.choice((4, 6, 8, 10, 12))):
            if number and repairs and self._rng.random() < 0.4:
                self._repair(conversation, project)
                seen.update(project.helpers.values())
                continue
            task = self._task(project, (1, 2, 2, 3) if number else (2, 3))
            names = {project.helpers[step.operation.key] for step in task.steps}
            conversation.ask(task.description)
            unknown = () if known else tuple(sorted(names - seen))
            conversation.code(task.solution, learnt=known or number > 0, unknown=unknown)
            seen |= names
        return conversation

    def _index(self) -> _Conversation:
        """Some of a new project's helpers under their titles, again and again in another order.

        Nothing teaches faster that a title looks up the name below its last mention, and the fewer
        there are the faster.
        """
        project, conversation = self._fresh(), _Conversation()
        conversation.ask(f"In {project.name}: every helper, three times.")
        count = min(self._rng.choice((2, 3, 4, 6, 9)), len(project.operations))
        operations = self._rng.sample(project.operations, count)
        lines, hidden = [project.imports], []
        for turn in range(3):
            for operation in self._rng.sample(operations, count):
                step = make_step(self._rng, operation)
                lines += [f"# {step.title}", project.call(step)]
            if turn == 0:
                hidden.append("\n".join(lines))
        conversation.code("\n".join(lines), unknown=tuple(hidden))
        return conversation


SHORT: Mapping[str, float] = {
    "known": 0.42,
    "plain": 0.22,
    "named": 0.05,
    "documented": 0.10,
    "repaired": 0.15,
    "listed": 0.06,
}
"""Documents of one or two questions, by share."""
ABILITIES: Mapping[str, float] = {
    "plain": 0.4,
    "known": 0.2,
    "documented": 0.25,
    "repaired": 0.15,
}
"""What the model can do without a memory, which none may cost it."""
LONG: Mapping[str, float] = {"sessions": 0.75, "index": 0.25}
"""Documents of many."""
INDEX: Mapping[str, float] = {"index": 1.0}
"""What looking up is learnt from, before all else."""
