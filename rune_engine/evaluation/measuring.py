"""How a model does on tasks, with an adapter or alone: asks, runs, and gives every verdict.

An adapter need not be registered: a reference to its folder is enough, so that a candidate can be
measured before it is. Every task is a step that is done once; tasks are asked at the same time, so
that the provider can batch them. What is generated is not kept. Knows a provider and a sandbox by
their interfaces; nothing of jobs, of the registry or of what follows from a verdict.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rune_engine.agent.code import extract_code, storable
from rune_engine.errors import ContextTooLongError
from rune_engine.evaluation.predicting import same
from rune_engine.evaluation.tasks import HeldOutTask
from rune_engine.inference.provider import (
    AdapterRef,
    ChatMessage,
    GenerationRequest,
    InferenceProvider,
)
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.sandbox.verdict import Infra, tests_passed

_T = TypeVar("_T")

RUNS_AT_ONCE = 4
"""Of the sandbox."""
ANSWERS_AT_ONCE = 160
"""Of the model, on one side, where no single task asks for more."""

Verdicts = list[bool | None]
"""Of one task, one a sample; None where none was reached."""


class Keep(Protocol):
    """Does each step once: what it answered is kept, and answered again. `jobs.steps.Steps`."""

    async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any: ...


class NotKept:
    """Keeps nothing: every step is done whenever it is asked for."""

    async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """What `work` answers."""
        return await work()


@dataclass(frozen=True, slots=True)
class Draws:
    """How answers are drawn; the same draws give the same answers."""

    samples: int = 1
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 512


async def measure(
    tasks: Sequence[HeldOutTask],
    adapter: AdapterRef | None,
    *,
    provider: InferenceProvider,
    sandbox: Sandbox,
    samples: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
    max_tokens: int = 512,
    at_once: int = 8,
    keep: Keep | None = None,
    remember: Keep | None = None,
    on_task: Callable[[], None] = lambda: None,
) -> dict[str, Verdicts]:
    """Every task's verdicts, by `HeldOutTask.task`.

    Args:
        adapter: None is the base model alone.
        seed: a task's draws follow from it and from the task, so that adapters are compared on
            the same ones.
        at_once: tasks that are asked and run at the same time; fewer where each has many samples.
        keep: what does each step once; by default nothing is kept.
        remember: instead of it, for tasks whose verdicts follow from nothing but the model, the
            draws and the task's own words.
        on_task: told of each task that is done.

    Raises:
        InferenceError: the model failed.
        SandboxUnavailableError: this machine cannot isolate code.
    """
    draws = Draws(samples, temperature, seed, max_tokens)
    keep = keep or NotKept()
    measuring = _Measuring(provider, sandbox, adapter, draws, keep, remember or keep)
    room = asyncio.Semaphore(max(1, min(at_once, ANSWERS_AT_ONCE // max(1, samples))))

    async def one(task: HeldOutTask) -> Verdicts:
        async with room:
            verdicts = await measuring.verdicts(task)
        on_task()
        return verdicts

    distinct = {task.task: task for task in tasks}
    found = await together([one(task) for task in distinct.values()])
    return dict(zip(distinct, found, strict=True))


async def together(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What all of it answers; the first error ends the rest of it, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [each.result() for each in running]


class _Measuring:
    """One model's draws on one sandbox."""

    def __init__(
        self,
        provider: InferenceProvider,
        sandbox: Sandbox,
        adapter: AdapterRef | None,
        draws: Draws,
        keep: Keep,
        remember: Keep,
    ) -> None:
        self._provider = provider
        self._sandbox = sandbox
        self._adapter = adapter
        self._draws = draws
        self._keep = keep
        self._remember = remember
        self._running = asyncio.Semaphore(RUNS_AT_ONCE)

    async def verdicts(self, task: HeldOutTask) -> Verdicts:
        """What became of one task's samples."""
        if task.reference is not None and not task.sealed:
            name = f"reference/{task.task}"
            if not await self._keep.run(name, lambda: self._passes(task)):
                return [None] * self._draws.samples
        lasting = task.sealed or task.workspace is None
        keep = self._remember if lasting else self._keep
        found: Verdicts = await keep.run(self._name(task), lambda: self._judged(task))
        return found

    def _name(self, task: HeldOutTask) -> str:
        draws = self._draws
        settings = [draws.samples, draws.temperature, draws.seed, draws.max_tokens]
        adapter = self._adapter.sha256 if self._adapter else None
        text = json.dumps([adapter, self._provider.base_model_id, settings])
        return f"{task.task}/{hashlib.sha256(text.encode()).hexdigest()}"

    async def _judged(self, task: HeldOutTask) -> Verdicts:
        requests = [self._request(task, number) for number in range(self._draws.samples)]
        try:
            answers = await self._provider.generate(requests, adapter=self._adapter)
        except ContextTooLongError:
            return [None] * self._draws.samples
        if task.answer is not None:
            return [same(answer.text, task.answer) for answer in answers]
        codes = [storable(extract_code(answer.text)) for answer in answers]
        each = list(dict.fromkeys(codes))  # the same code is run once
        ran = await asyncio.gather(*(self._run(task, code) for code in each))
        verdict = dict(zip(each, ran, strict=True))
        return [verdict[code] for code in codes]

    def _request(self, task: HeldOutTask, number: int) -> GenerationRequest:
        import prompts  # at the first task: its template engine would slow every start

        draw = hashlib.sha256(f"{self._draws.seed}/{task.task}/{number}".encode()).digest()
        messages = prompts.conversation(task.description, [])
        return GenerationRequest(
            messages=tuple(ChatMessage(m["role"], m["content"]) for m in messages),  # type: ignore[arg-type]
            max_tokens=self._draws.max_tokens,
            temperature=self._draws.temperature,
            seed=int.from_bytes(draw[:4], "big") >> 1,
        )

    async def _passes(self, task: HeldOutTask) -> bool:
        """Whether the task's own solution passes here."""
        async with self._running:
            verdict = await self._sandbox.run(
                task.reference or "", task.tests, workspace=task.workspace
            )
        return tests_passed(verdict) is True

    async def _run(self, task: HeldOutTask, code: str) -> bool | None:
        """The verdict as the agent loop reaches it: a pass comes twice, no verdict is retried."""
        async with self._running:
            for _ in range(2):
                verdict = await self._sandbox.run(
                    code, task.tests, workspace=task.workspace, confirm=True
                )
                if not isinstance(verdict, Infra):
                    break
        return tests_passed(verdict)
