"""A back-end in a worker process of its own: started when it is needed, ended when it is not.

This process never imports what runs the model; that lives in the command that a subclass names,
which speaks `wire.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import rune_engine
from rune_engine.extras import require
from rune_engine.inference.adapter_files import check_base_model
from rune_engine.inference.provider import (
    AdapterRef,
    Generation,
    GenerationRequest,
    InferenceProvider,
    ProviderStatus,
)
from rune_engine.inference.wire import Message, generate_message, read_generations
from rune_engine.inference.worker_process import WorkerProcess

# Modules are found beside our own package, never in a folder the engine happens to stand in.
_CODE_ROOT = Path(rune_engine.__file__).resolve().parent.parent


class WorkerProvider(InferenceProvider):
    """Serves one base model from a worker process; belongs to one event loop.

    Args:
        base_model_id: what adapters for this model carry as their base model.
        command: starts the worker.
        extra: the optional dependency that the worker needs.
        idle_seconds: the worker is ended after this long without a call.
    """

    def __init__(
        self, base_model_id: str, command: Sequence[str], extra: str, idle_seconds: float
    ) -> None:
        self.base_model_id = base_model_id
        self._command = tuple(command)
        self._extra = extra
        self._idle_seconds = idle_seconds
        self._worker: WorkerProcess | None = None
        self._loaded_adapters: tuple[str, ...] = ()
        self._starting = asyncio.Lock()
        self._in_flight = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    async def generate(
        self, requests: Sequence[GenerationRequest], *, adapter: AdapterRef | None = None
    ) -> list[Generation]:
        if adapter is not None:
            check_base_model(adapter, self.base_model_id)
        if not requests:
            return []
        return await self._ask(generate_message(requests, adapter), None)

    async def stream(
        self, request: GenerationRequest, *, adapter: AdapterRef | None = None
    ) -> AsyncIterator[str | Generation]:
        if adapter is not None:
            check_base_model(adapter, self.base_model_id)
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        message = generate_message([request], adapter, stream=True)
        answer = asyncio.create_task(self._ask(message, pieces))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            [generation] = await answer
            yield generation
        finally:
            if not answer.done():
                answer.cancel()
                await asyncio.wait([answer])

    async def _ask(
        self, message: Message, pieces: asyncio.Queue[str | None] | None
    ) -> list[Generation]:
        """Ask the worker; `pieces` gets the text as it comes, and None at the end of it."""
        self._in_flight += 1
        self._stop_idle_timer()
        try:
            worker = await self._running_worker()
            reply = await worker.ask(message, pieces.put_nowait if pieces else None)
            self._loaded_adapters = tuple(reply["loaded_adapters"])
            return read_generations(reply)
        finally:
            if pieces is not None:
                pieces.put_nowait(None)
            self._in_flight -= 1
            self._start_idle_timer()

    def status(self) -> ProviderStatus:
        alive = self._worker is not None and self._worker.alive
        return ProviderStatus(
            name=self.name,
            base_model_id=self.base_model_id,
            loaded=alive,
            worker_pids=(self._worker.pid,) if self._worker and alive else (),
            loaded_adapters=self._loaded_adapters if alive else (),
        )

    async def close(self) -> None:
        self._stop_idle_timer()
        async with self._starting:
            worker, self._worker = self._worker, None
            self._loaded_adapters = ()
            if worker is not None:
                await worker.stop()

    async def _running_worker(self) -> WorkerProcess:
        async with self._starting:
            if self._worker is None or not self._worker.alive:
                require(self._extra, "Running a local model")
                self._loaded_adapters = ()
                self._worker = await WorkerProcess.start(self._command, cwd=_CODE_ROOT)
            return self._worker

    def _start_idle_timer(self) -> None:
        if self._in_flight == 0 and self._worker is not None:
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(self._idle_seconds, self._end_idle_worker)

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _end_idle_worker(self) -> None:
        self._ending = asyncio.get_running_loop().create_task(self._close_if_idle())

    async def _close_if_idle(self) -> None:
        if self._in_flight == 0:
            await self.close()
