"""Answers to questions, and what the sandbox says of them.

Every answer and every verdict is kept under all that it follows from: a run that was killed goes
on where it was, and the same code is judged once. Seeds follow from the task, so that conditions
are compared on the same draws. Knows a provider and a sandbox by their interfaces.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rune_engine.agent.code import extract_code, storable
from rune_engine.errors import ContextTooLongError
from rune_engine.evaluation.pass_at_k import pass_at_k
from rune_engine.experiments.asking import Question
from rune_engine.experiments.cache import Cache, key_of
from rune_engine.experiments.recording import judged
from rune_engine.inference.provider import AdapterRef, GenerationRequest, InferenceProvider
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.sandbox.verdict import tests_passed

_CALLS_AT_ONCE = 2
"""Of the provider: while one call's last answers come, the next one's have begun."""
_ANSWERS_AT_ONCE = 160
_RUNS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Answered:
    """A task's answers under one condition; a verdict is None where none was reached."""

    subject: str
    task: str
    kind: str
    verdicts: tuple[bool | None, ...]
    prompt_tokens: int
    completion_tokens: float

    @property
    def undecided(self) -> int:
        return self.verdicts.count(None)

    @property
    def pass_at_1(self) -> float | None:
        """Estimated from the decided answers; None where there is none."""
        decided = len(self.verdicts) - self.undecided
        return pass_at_k(decided, self.verdicts.count(True), 1) if decided else None


@dataclass(frozen=True, slots=True)
class Draws:
    """How answers are drawn; `base` names the base model's bytes and who runs them."""

    base: str
    samples: int
    temperature: float
    max_tokens: int
    seed: int


class Sampler:
    """Asks and judges; one for a whole run."""

    def __init__(
        self,
        provider: InferenceProvider,
        sandbox: Sandbox,
        draws: Draws,
        work: Path,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._provider = provider
        self._sandbox = sandbox
        self._draws = draws
        self._advance = advance
        self._answers = Cache(work / "answers.jsonl")
        self._verdicts = Cache(work / "verdicts.jsonl")
        self._asking = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._running = asyncio.Semaphore(_RUNS_AT_ONCE)
        self._judging: dict[str, asyncio.Task[bool | None]] = {}

    def drawing(self, samples: int) -> Sampler:
        """The same, with so many answers to each question; they share what is known."""
        other = copy(self)
        other._draws = replace(self._draws, samples=samples)
        return other

    def close(self) -> None:
        """Close the files."""
        self._answers.close()
        self._verdicts.close()

    async def ask(
        self,
        questions: Sequence[Question],
        adapter: AdapterRef | None = None,
        *,
        alike: bool = False,
        whole: bool = False,
    ) -> list[Answered]:
        """Answers and verdicts, in the questions' order.

        Args:
            alike: the questions begin with the same long conversation, which is read once.
            whole: a question that is too long for the context fails all of them.

        Raises:
            ContextTooLongError: with `whole`, a question does not fit.
            InferenceError: the model failed.
        """
        keys = [self._key(question, adapter) for question in questions]
        missing = [q for q, key in zip(questions, keys, strict=True) if key not in self._answers]
        if missing:
            async with self._asking:
                await self._draw(missing, adapter, alike, whole)
        answered = await asyncio.gather(
            *(self._judge(q, self._answers[key]) for q, key in zip(questions, keys, strict=True))
        )
        self._advance(len(questions))
        return answered

    def _key(self, question: Question, adapter: AdapterRef | None) -> str:
        draws = self._draws
        return key_of(
            [draws.base, draws.samples, draws.temperature, draws.max_tokens, draws.seed],
            question.task.key,
            [(message.role, message.content) for message in question.messages],
            [adapter.sha256, adapter.id] if adapter else None,
        )

    # --- answers -------------------------------------------------------------------------------

    async def _draw(
        self,
        questions: Sequence[Question],
        adapter: AdapterRef | None,
        alike: bool,
        whole: bool,
    ) -> None:
        size = max(1, _ANSWERS_AT_ONCE // self._draws.samples)
        for start in range(0, len(questions), size):
            chunk = questions[start : start + size]
            try:
                await self._call(chunk, adapter, alike and start == 0)
            except ContextTooLongError:
                if whole:
                    raise
                for question in chunk:
                    await self._call_alone(question, adapter)
            self._answers.flush()

    async def _call(
        self, questions: Sequence[Question], adapter: AdapterRef | None, alike: bool = False
    ) -> None:
        requests = [
            self._request(question, number)
            for question in questions
            for number in range(self._draws.samples)
        ]
        # The first is read alone: the others find what it has read.
        first = await self._provider.generate(requests[:1], adapter=adapter) if alike else []
        rest = await self._provider.generate(requests[len(first) :], adapter=adapter)
        generations = iter([*first, *rest])
        for question in questions:
            found = [next(generations) for _ in range(self._draws.samples)]
            self._answers[self._key(question, adapter)] = [
                [g.text, g.prompt_tokens, g.completion_tokens] for g in found
            ]

    async def _call_alone(self, question: Question, adapter: AdapterRef | None) -> None:
        """Ask one; one that does not fit has no answers, and so no verdicts."""
        try:
            await self._call([question], adapter)
        except ContextTooLongError:
            self._answers[self._key(question, adapter)] = []

    def _request(self, question: Question, number: int) -> GenerationRequest:
        draw = f"{self._draws.seed}/{question.task.key}/{number}"
        return GenerationRequest(
            messages=question.messages,
            max_tokens=self._draws.max_tokens,
            temperature=self._draws.temperature,
            seed=int.from_bytes(hashlib.sha256(draw.encode()).digest()[:4], "big") >> 1,
        )

    # --- verdicts ------------------------------------------------------------------------------

    async def _judge(self, question: Question, answers: Sequence[Any]) -> Answered:
        codes = [storable(extract_code(text)) for text, _, _ in answers]
        verdicts = await asyncio.gather(*(self._passes(question, code) for code in codes))
        missing = (None,) * (self._draws.samples - len(answers))
        return Answered(
            subject=question.subject,
            task=question.task.key,
            kind=question.task.kind,
            verdicts=(*verdicts, *missing),
            prompt_tokens=answers[0][1] if answers else 0,
            completion_tokens=sum(a[2] for a in answers) / max(1, len(answers)),
        )

    async def _passes(self, question: Question, code: str) -> bool | None:
        key = key_of(question.subject, question.task.tests, code)
        if key in self._verdicts:
            known: bool = self._verdicts[key]
            return known
        if key not in self._judging:
            self._judging[key] = asyncio.create_task(self._run(question, code, key))
        return await self._judging[key]

    async def _run(self, question: Question, code: str, key: str) -> bool | None:
        async with self._running:
            verdict = await judged(self._sandbox, code, question.task.tests, question.workspace)
        passed = tests_passed(verdict)
        if passed is not None:  # what could not be decided may be, another time
            self._verdicts[key] = passed
            self._verdicts.flush()
        self._judging.pop(key, None)
        return passed
