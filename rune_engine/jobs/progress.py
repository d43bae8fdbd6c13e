"""Writes a running job's progress to its row, a few times a second at most."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from rune_engine.errors import StaleAttemptError
from rune_engine.jobs.store import JobStore
from rune_engine.models import Job

Report = Callable[[float, str], None]
"""Called with a fraction between 0 and 1 and a short message."""

_SECONDS_BETWEEN_WRITES = 0.2
_LONGEST_MESSAGE = 500


class ProgressWriter:
    """Within its block, takes reports at any rate and writes the newest.

    Nothing is written after the block: the last word on a row is its end. Nor is anything once the
    job is somebody else's.
    """

    def __init__(self, store: JobStore, job: Job) -> None:
        self._store = store
        self._job = job
        self._latest: tuple[float, str] | None = None
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Report:
        self._task = asyncio.create_task(self._write())
        return self._report

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._changed.set()
        if self._task is not None:
            await self._task

    def _report(self, fraction: float, message: str) -> None:
        self._latest = (min(1.0, max(0.0, fraction)), message[:_LONGEST_MESSAGE])
        self._changed.set()

    async def _write(self) -> None:
        with suppress(StaleAttemptError):
            await self._write_on()

    async def _write_on(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._ended.is_set():
                return
            if self._latest is not None:
                fraction, message = self._latest
                await asyncio.to_thread(self._store.progress, self._job, fraction, message)
            try:
                await asyncio.wait_for(self._ended.wait(), _SECONDS_BETWEEN_WRITES)
            except TimeoutError:
                continue
