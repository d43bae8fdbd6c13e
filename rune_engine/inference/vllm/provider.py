"""vLLM as an inference provider: a server that somebody started, asked over HTTP.

The server batches whatever is asked at the same time, whichever adapters it wants. Rune never
starts or ends it here; `rune vllm serve` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from rune_engine.errors import BackendUnavailableError, ContextTooLongError
from rune_engine.inference.adapter_files import check_base_model
from rune_engine.inference.provider import (
    AdapterRef,
    Generation,
    GenerationRequest,
    InferenceProvider,
    ProviderStatus,
)
from rune_engine.inference.vllm.chat import ChatFormat, read_chat_format
from rune_engine.inference.vllm.connection import BaseModel, Connection
from rune_engine.inference.vllm.replies import (
    Json,
    StreamedAnswer,
    UnknownModelError,
    generation,
)
from rune_engine.inference.vllm.server import VllmServer

_SEEDS = 2**63
_ATTEMPTS = 2


class VllmProvider(InferenceProvider):
    """Serves one base model through a vLLM server; belongs to one event loop.

    Args:
        base_model_id: what adapters for this model carry as their base model.
        model_path: the base model's folder: its chat template and its shapes are read there.
        url: where the server listens.
        staging: a folder for private copies of adapters, which the server must be able to read.
        max_adapters: loaded at once at most; fewer where the server's own cache is smaller.
        answer_seconds: how long the server may be silent before it counts as dead.
    """

    name = "vllm"

    def __init__(
        self,
        base_model_id: str,
        model_path: Path,
        url: str,
        *,
        staging: Path,
        max_adapters: int = 15,
        answer_seconds: float = 600.0,
    ) -> None:
        self.base_model_id = base_model_id
        self._base = BaseModel(base_model_id, model_path)
        self._staging = staging.absolute()
        self._max_adapters = max_adapters
        self._server = VllmServer(url, answer_seconds)
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._chat: ChatFormat | None = None
        self._doubtful = False
        self._asleep = False

    async def generate(
        self, requests: Sequence[GenerationRequest], *, adapter: AdapterRef | None = None
    ) -> list[Generation]:
        if adapter is not None:
            check_base_model(adapter, self.base_model_id)
        return await _together([self._complete(request, adapter) for request in requests])

    async def stream(
        self, request: GenerationRequest, *, adapter: AdapterRef | None = None
    ) -> AsyncIterator[str | Generation]:
        if adapter is not None:
            check_base_model(adapter, self.base_model_id)
        for attempt in range(_ATTEMPTS):
            answer = StreamedAnswer(adapter.id if adapter else None)
            try:
                async with (
                    self._body(request, adapter) as body,
                    aclosing(self._server.stream(body)) as events,
                ):
                    async for event in events:
                        if piece := answer.add(event):
                            yield piece
                yield answer.generation()
                return
            except UnknownModelError as error:  # before the first piece, if at all
                await self._look_again(attempt, error)

    def status(self) -> ProviderStatus:
        awake = None if self._asleep else self._connection
        return ProviderStatus(
            name=self.name,
            base_model_id=self.base_model_id,
            loaded=awake is not None,
            loaded_adapters=awake.loaded_ids if awake else (),
        )

    async def close(self) -> None:
        async with self._connecting:
            connection, self._connection = self._connection, None
            self._asleep = self._doubtful = False
            if connection is not None:
                await connection.close()
            await self._server.close()

    async def sleep(self) -> None:
        """Put the server to sleep; one that does not run has nothing to give.

        Raises:
            InferenceError: it was not started to sleep.
        """
        if self._asleep:
            return
        with suppress(BackendUnavailableError):
            connection = await self._connected()
            await connection.sleep()
            self._asleep = True

    async def wake(self) -> None:
        """Wake the server; it answers again once it has shown that nothing was lost.

        Raises:
            InferenceError: it answers otherwise than before it slept.
            BackendUnavailableError: it does not answer at all.
        """
        if self._asleep:
            await self._connected()

    # --- one request ---------------------------------------------------------------------------

    async def _complete(self, request: GenerationRequest, adapter: AdapterRef | None) -> Generation:
        attempt = 0
        while True:
            try:
                async with self._body(request, adapter) as body:
                    reply = await self._server.complete(body)
                return generation(reply, adapter.id if adapter else None)
            except UnknownModelError as error:
                await self._look_again(attempt, error)
                attempt += 1

    async def _look_again(self, attempt: int, error: UnknownModelError) -> None:
        """After the server forgot a name: it was restarted, or somebody else unloaded it."""
        self._doubtful = True
        if attempt + 1 >= _ATTEMPTS:
            raise BackendUnavailableError(
                f"The vLLM server keeps forgetting what it serves: {error}",
                next_step="See that nobody else loads and unloads adapters on it.",
            ) from error
        await self._connected()

    @asynccontextmanager
    async def _body(
        self, request: GenerationRequest, adapter: AdapterRef | None
    ) -> AsyncIterator[Json]:
        """What to send; the adapter in it stays loaded for the time of the block."""
        try:
            connection = await self._connected()
            chat = await self._chat_format()
            prompt = chat.prompt(request)
            body = _sampling(request, chat.stop_ids) | {"prompt": prompt}
            body["max_tokens"] = await self._room(connection, prompt, request.max_tokens)
            async with connection.names.using(adapter) as name:
                yield body | {"model": name}
        except BackendUnavailableError:
            self._doubtful = True
            raise

    async def _room(self, connection: Connection, prompt: str, wanted: int) -> int:
        """How many tokens to ask for: a token is a byte of text or more, so most need no count."""
        context = connection.served.context
        if context is None or len(prompt.encode()) + wanted <= context:
            return wanted
        tokens, context = await self._server.count_tokens(connection.served.name, prompt)
        room = context - tokens
        if room < min(wanted, context // 4):
            raise ContextTooLongError(
                f"The prompt has {tokens} tokens; the server's context is {context}.",
                next_step="Shorten the task description, or serve with more --context.",
            )
        return min(wanted, room)

    async def _chat_format(self) -> ChatFormat:
        if self._chat is None:
            self._chat = await asyncio.to_thread(read_chat_format, self._base.folder)
        return self._chat

    # --- the server ----------------------------------------------------------------------------

    async def _connected(self) -> Connection:
        """The checked server, awake."""
        if self._connection is not None and not (self._asleep or self._doubtful):
            return self._connection
        async with self._connecting:
            if self._connection is None:
                self._connection = await Connection.open(
                    self._server, self._base, self._staging, self._max_adapters
                )
            elif self._asleep:
                await self._wake_or_refuse(self._connection)
            elif self._doubtful:
                await self._connection.verify()
            self._doubtful = False
            return self._connection

    async def _wake_or_refuse(self, connection: Connection) -> None:
        """While it is not as it was, every call comes here and is refused."""
        await connection.wake()
        self._asleep = False


def _sampling(request: GenerationRequest, stop_ids: Sequence[int]) -> Json:
    """How to sample, with nothing left to the model's own generation settings."""
    greedy = request.temperature <= 0 or request.top_p <= 0
    return {
        "add_special_tokens": False,
        "temperature": 0.0 if greedy else request.temperature,
        "top_p": 1.0 if greedy else request.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": request.seed % _SEEDS,
        "stop": list(request.stop),
        "stop_token_ids": list(stop_ids),
        "spaces_between_special_tokens": False,
        **({"logprobs": 0} if request.logprobs else {}),
    }


async def _together(calls: Sequence[Coroutine[Any, Any, Generation]]) -> list[Generation]:
    """All of them at once; the first failure, or a cancel, ends the others."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
