"""The gate's conditions: the same tasks, under each of them in the same run.

    base           the base model alone
    in_context     the project's sessions in the prompt, as text memories do it
    direct         LoRA, trained directly
    closed_form    LoRA, solved for
    hypernetwork   LoRA, from a hypernetwork in one forward pass, where the base model has one
    random         an adapter of the same shape and norm that nothing taught
    wrong_project  the adapter of another project

Knows how each is asked; nothing of what the figures mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rune_engine.errors import ContextTooLongError, RuneError
from rune_engine.experiments.adapters import METHODS, Made, Workshop, refused
from rune_engine.experiments.asking import Question, conversation
from rune_engine.experiments.base import CLOSED_FORM, DIRECT, HYPERNETWORK, Base
from rune_engine.experiments.cache import key_of
from rune_engine.experiments.recording import Taught, judged
from rune_engine.experiments.sampling import Answered, Sampler
from rune_engine.experiments.subjects import GateTask
from rune_engine.experiments.weights import random_like, read
from rune_engine.inference.provider import AdapterRef
from rune_engine.models import Attempt
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.sandbox.verdict import tests_passed

Result = TypeVar("Result")
BASE, IN_CONTEXT, RANDOM, WRONG = "base", "in_context", "random", "wrong_project"
CONDITIONS = (BASE, IN_CONTEXT, DIRECT, CLOSED_FORM, HYPERNETWORK, RANDOM, WRONG)


@dataclass(frozen=True, slots=True)
class Condition:
    """What came of one; `reason` says why it is not available, where it is not.

    Attributes:
        adapters: by the subject that they were used on.
        shown: how many sessions stood in the prompt, by subject.
    """

    name: str
    answered: Sequence[Answered] = ()
    adapters: Mapping[str, Made] = field(default_factory=dict)
    shown: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None


Adapters = Mapping[str, Mapping[str, Made]]
"""By method, then by subject; what a method cannot do is not there."""


async def make_adapters(
    taught: Sequence[Taught], base: Base, workshop: Workshop, advance: Callable[[], None]
) -> tuple[dict[str, dict[str, Made]], dict[str, str]]:
    """Every subject's adapter by every method, in turns; and why a method is not available.

    Raises:
        RuneError: a trainer failed where it had not refused before.
    """
    missing = {} if base.hypernetwork else {HYPERNETWORK: "The base model has no hypernetwork."}
    made: dict[str, dict[str, Made]] = {m: {} for m in METHODS if m not in missing}
    for subject in taught:
        for method in list(made):
            name = subject.subject.name
            try:
                made[method][name] = await workshop.make(method, name, subject.trajectories)
            except RuneError as error:
                if made[method] or not refused(error):
                    raise
                missing[method] = error.message
                del made[method]
            advance()
    return made, missing


class Asker:
    """Asks every subject's tasks under the conditions."""

    def __init__(self, taught: Sequence[Taught], sampler: Sampler, sandbox: Sandbox) -> None:
        self.taught = taught
        self._sampler = sampler
        self._sandbox = sandbox

    async def alone(
        self,
        adapters: Mapping[str, AdapterRef] | None = None,
        *,
        plain: bool = False,
        only: Sequence[str] | None = None,
    ) -> list[Answered]:
        """The tasks with nothing in context; with `adapters`, each subject's own one is on.

        Args:
            plain: the tasks that need no project instead.
            only: these subjects.
        """

        async def one(each: Taught) -> list[Answered]:
            tasks = each.subject.plain if plain else each.subject.tasks
            questions = [_question(each, task) for task in tasks]
            adapter = adapters[each.subject.name] if adapters is not None else None
            return await self._sampler.ask(questions, adapter)

        return await _all(one(t) for t in self.taught if only is None or t.subject.name in only)

    async def in_context(self) -> tuple[list[Answered], dict[str, int]]:
        """The tasks after the project's sessions, and how many of these were shown.

        The newest are kept where the context is too short for all.
        """
        shown: dict[str, int] = {}

        async def one(each: Taught) -> list[Answered]:
            answered, count = await self._fitting(each, each.subject.tasks, {})
            shown[each.subject.name] = count
            return answered

        return await _all(map(one, self.taught)), shown

    async def repaired(self, *, in_context: bool) -> list[Answered]:
        """The tasks after a failed attempt at each and what running it said."""

        async def one(each: Taught) -> list[Answered]:
            failed = await self._failed(each)
            tasks = [task for task in each.subject.tasks if task.key in failed]
            if in_context:
                return (await self._fitting(each, tasks, failed))[0]
            questions = [_question(each, task, 0, [failed[task.key]]) for task in tasks]
            return await self._sampler.ask(questions)

        return await _all(map(one, self.taught))

    async def _fitting(
        self, each: Taught, tasks: Sequence[GateTask], failed: Mapping[str, Attempt]
    ) -> tuple[list[Answered], int]:
        """Answers with as many sessions in the prompt as fit with every task."""
        longest_first = sorted(tasks, key=lambda task: len(task.description), reverse=True)
        for count in range(len(each.trajectories), -1, -1):
            questions = [
                _question(each, task, count, [failed[task.key]] if task.key in failed else [])
                for task in longest_first
            ]
            try:
                return await self._sampler.ask(questions, alike=count > 0, whole=count > 0), count
            except ContextTooLongError:
                continue
        raise AssertionError("the last round returns")

    async def _failed(self, each: Taught) -> dict[str, Attempt]:
        """The subject's wrong attempts that did fail, with what running them printed."""
        found = {}
        for task in each.subject.tasks:
            if task.wrong is None:
                continue
            verdict = await judged(self._sandbox, task.wrong, task.tests, each.workspace)
            if verdict.evidence is not None and tests_passed(verdict) is False:
                evidence = verdict.evidence
                found[task.key] = Attempt(
                    generated_code=task.wrong, stdout=evidence.stdout, stderr=evidence.stderr
                )
        return found


def _question(
    each: Taught, task: GateTask, shown: int = 0, failed: Sequence[Attempt] = ()
) -> Question:
    sessions = each.trajectories[len(each.trajectories) - shown :]
    return Question(each.subject.name, task, conversation(task, sessions, failed), each.workspace)


async def all_of(works: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """What all of them give, in order, done at once; the first failure ends the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _all(asked: Iterable[Coroutine[Any, Any, list[Answered]]]) -> list[Answered]:
    """Every subject's answers, one after the other's."""
    return [answered for each in await all_of(asked) for answered in each]


def random_adapters(
    like: Mapping[str, Made], workshop: Workshop, seed: int
) -> dict[str, AdapterRef]:
    """For each subject an adapter of its own one's shape and norm that nothing taught."""
    return {
        name: workshop.write(
            random_like(read(made.ref), int(key_of(name, seed)[:8], 16)), f"random-{name}"
        )
        for name, made in like.items()
    }


def lent(taught: Sequence[Taught], adapters: Mapping[str, Made]) -> dict[str, Made] | None:
    """For each subject the adapter of the next one of its group; None where one is alone.

    Where every group is of one, the next subject of all lends its own.
    """
    groups: dict[int, list[str]] = {}
    for each in taught:
        groups.setdefault(each.subject.group, []).append(each.subject.name)
    circles = list(groups.values())
    if any(len(circle) == 1 for circle in circles):
        circles = [[each.subject.name for each in taught]]
    if any(len(circle) == 1 for circle in circles):
        return None
    return {
        name: adapters[circle[(place + 1) % len(circle)]]
        for circle in circles
        for place, name in enumerate(circle)
    }
