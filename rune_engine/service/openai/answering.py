"""Answers from the local model: chosen, waited for at the accelerator, whole or as they are made.

While a job trains, whoever asks waits and none fails: a stream is told why, piece by piece. Whoever
goes away ends the generation. Knows nothing of JSON or of OpenAI's names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar, cast

from starlette.types import Receive

from rune_engine.inference.provider import AdapterRef, Generation, GenerationRequest
from rune_engine.service.engine import Engine
from rune_engine.service.openai.choosing import Choice, Wanted, asked_text, choose
from rune_engine.service.openai.refusals import Refusal

MOST_AT_ONCE = 128
KEEP_ALIVE_SECONDS = 10.0
"""Longest silence of a stream: some clients give up on one that says nothing for minutes."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: what answers it, and the completions to make."""

    wanted: Wanted
    requests: tuple[GenerationRequest, ...]


@dataclass(frozen=True, slots=True)
class Waits:
    """Nothing to show yet; `text` says why."""

    text: str


@dataclass(frozen=True, slots=True)
class Begins:
    """The memory is chosen and the model is at work."""

    choice: Choice


@dataclass(frozen=True, slots=True)
class Piece:
    """More of one completion's text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """One completion is whole."""

    index: int
    generation: Generation


Event = Waits | Begins | Piece | Ended


class Answers:
    """Makes the answers of one engine; belongs to its event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open = 0

    async def whole(self, asked: Asked) -> tuple[Choice, list[Generation]]:
        """The memory that was chosen and every completion, in order.

        Raises:
            RuneError: whatever choosing or generating raises.
            Refusal: too many requests at once, or the engine is about to stop.
        """
        waited: list[str] = []
        with self._counted():
            choice = await self._choose(asked)
            async with self._engine.lease.serving(lambda _, text: waited.append(text)):
                if waited:
                    choice = await self._choose(asked)
                provider = self._engine.providers.get()
                return choice, await provider.generate(asked.requests, adapter=choice.adapter)

    async def streamed(self, asked: Asked) -> AsyncIterator[Event]:
        """Events as they happen; closing the iterator ends the generation. Raises as `whole`."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        producer = asyncio.create_task(self._produce(asked, events.put_nowait))

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                task.exception()  # looked at even if nobody reads on: asyncio would complain
            events.put_nowait(None)

        producer.add_done_callback(ended)
        silence = Waits("the model is at work")
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        event = await events.get()
                except TimeoutError:
                    event = silence
                if event is None:
                    break
                if isinstance(event, Waits):
                    silence = event
                yield event
            producer.result()
        finally:
            producer.cancel()

    async def _produce(self, asked: Asked, put: Callable[[Event], None]) -> None:
        waited: list[str] = []

        def report(_fraction: float, text: str) -> None:
            waited.append(text)
            put(Waits(text))

        with self._counted():
            choice = await self._choose(asked)
            async with self._engine.lease.serving(report):
                if waited:
                    # Training ends with a new adapter, and something may have been forgotten.
                    choice = await self._choose(asked)
                put(Begins(choice))
                await self._follow_all(asked.requests, choice.adapter, put)

    async def _follow_all(
        self,
        requests: tuple[GenerationRequest, ...],
        adapter: AdapterRef | None,
        put: Callable[[Event], None],
    ) -> None:
        tasks = [
            asyncio.create_task(self._follow(index, request, adapter, put))
            for index, request in enumerate(requests)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _follow(
        self,
        index: int,
        request: GenerationRequest,
        adapter: AdapterRef | None,
        put: Callable[[Event], None],
    ) -> None:
        provider = self._engine.providers.get()
        async with closing(provider.stream(request, adapter=adapter)) as items:
            async for item in items:
                put(Piece(index, item) if isinstance(item, str) else Ended(index, item))

    async def _choose(self, asked: Asked) -> Choice:
        engine, text = self._engine, asked_text(asked.requests)
        base_model_id = engine.providers.get().base_model_id
        return await asyncio.to_thread(
            choose, asked.wanted, engine.registry, engine.router, base_model_id, text
        )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._engine.stopping:
            raise Refusal("The engine is about to stop.", code="stopping", status=503)
        if self._open >= MOST_AT_ONCE:
            raise Refusal(
                f"{MOST_AT_ONCE} requests are being answered already.",
                code="rate_limit_exceeded",
                status=HTTPStatus.TOO_MANY_REQUESTS,
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


def closing(items: AsyncIterator[_Result]) -> aclosing[AsyncGenerator[_Result, None]]:
    """Closes an iterator that is an async generator, as those of providers and of `Answers` are."""
    return aclosing(cast("AsyncGenerator[_Result, None]", items))


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _Result]) -> _Result | None:
    """The result of `work`; None, and `work` is cancelled, when the client goes away before.

    The request's body must have been read.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
