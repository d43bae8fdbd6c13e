"""Ollama as an `InferenceProvider`: one of its models for each adapter, answers as they are made.

No Ollama server was at hand when this was written: it holds to the documented protocol, which the
tests replay. What it cannot promise stands in docs/ollama.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress

from rune_engine.errors import BackendUnavailableError, InferenceError
from rune_engine.inference.adapter_files import check_base_model
from rune_engine.inference.ollama.answers import body_of, read
from rune_engine.inference.ollama.models import PREFIX, GgufFiles, OllamaModels
from rune_engine.inference.ollama.server import NoSuchModelError, OllamaServer
from rune_engine.inference.provider import (
    AdapterRef,
    Generation,
    GenerationRequest,
    InferenceProvider,
    ProviderStatus,
)

DEFAULT_CONTEXT = 8192
"""Ollama's own default (4096, and it reserves memory for all of it) is short for code."""

_UNLOAD_SECONDS = 30.0
_POLL_SECONDS = 0.1


class OllamaProvider(InferenceProvider):
    """Serves one base model through a running Ollama; belongs to one event loop.

    Args:
        base_model_id: what adapters for this model carry as their base model.
        url: where Ollama listens.
        render: a request as prompt text, special tokens in a message's content broken.
        files: makes the GGUF files that Ollama gets.
        context: tokens of context.
        idle_seconds: Ollama frees a model's memory this long after its last request.
    """

    name = "ollama"

    def __init__(
        self,
        base_model_id: str,
        url: str,
        render: Callable[[GenerationRequest], str],
        files: GgufFiles,
        *,
        context: int = DEFAULT_CONTEXT,
        idle_seconds: float = 300.0,
    ) -> None:
        self.base_model_id = base_model_id
        self._server = OllamaServer(url)
        self._render = render
        self._context = context
        self._idle_seconds = idle_seconds
        self._models = OllamaModels(
            self._server, base_model_id, files, context=context, keep_alive=idle_seconds
        )

    async def generate(
        self, requests: Sequence[GenerationRequest], *, adapter: AdapterRef | None = None
    ) -> list[Generation]:
        if adapter is not None:
            check_base_model(adapter, self.base_model_id)
        tasks = [asyncio.create_task(self._whole(request, adapter)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def stream(
        self, request: GenerationRequest, *, adapter: AdapterRef | None = None
    ) -> AsyncGenerator[str | Generation, None]:
        if adapter is not None:
            check_base_model(adapter, self.base_model_id)
        prompt = await asyncio.to_thread(self._render, request)
        for last_try in (False, True):
            try:
                model = await self._models.name(adapter)
                body = body_of(
                    model, prompt, request, context=self._context, keep_alive=self._idle_seconds
                )
                async with aclosing(self._server.generate(body)) as lines:
                    async for item in read(lines, adapter.id if adapter else None):
                        yield item
                return
            except NoSuchModelError as error:
                self._models.forget_all()
                if last_try:
                    raise InferenceError(
                        f"Ollama lost a model while it was used: {error}"
                    ) from error

    def status(self) -> ProviderStatus:
        """`loaded` says that models are there; Ollama keeps them in memory as it sees fit."""
        names = tuple(self._models.names)
        return ProviderStatus(
            name=self.name,
            base_model_id=self.base_model_id,
            loaded=bool(names),
            loaded_adapters=tuple(name for name in names if "-adapter-" in name),
        )

    async def sleep(self) -> None:
        """Have Ollama free the memory of every model of ours, and wait until it has.

        Raises:
            InferenceError: it has not after half a minute.
            BackendUnavailableError: it does not answer.
        """
        deadline = time.monotonic() + _UNLOAD_SECONDS
        while ours := [name for name in await self._server.loaded() if name.startswith(PREFIX)]:
            if time.monotonic() > deadline:
                raise InferenceError(
                    f"Ollama keeps {', '.join(ours)} in memory.", next_step="Run `ollama stop`."
                )
            for name in ours:
                await self._server.unload(name)
            await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        with suppress(BackendUnavailableError):  # one that is gone holds nothing
            await self.sleep()
        await self._server.close()

    async def _whole(self, request: GenerationRequest, adapter: AdapterRef | None) -> Generation:
        async with aclosing(self.stream(request, adapter=adapter)) as items:
            *_, last = [item async for item in items]
        assert isinstance(last, Generation)
        return last
