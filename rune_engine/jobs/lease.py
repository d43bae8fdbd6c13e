"""S16, who has the accelerator: any number of jobs that serve, or one that trains.

While a job trains, serving sleeps; jobs that would serve wait, and their rows say so. A lifecycle
event tells of each change, so that an engine that died in between wakes serving when it starts
again. Where nothing is shared, both run at once. Knows nothing of what the jobs do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rune_engine.events import EventLog
from rune_engine.hardware import has_accelerator
from rune_engine.inference.factory import ProviderPool
from rune_engine.jobs.progress import Report
from rune_engine.jobs.runner import Work
from rune_engine.models import EventKind, Job, Model

SUBJECT = "serving"


class AcceleratorLease:
    """Lets training and serving take turns; belongs to one event loop.

    Args:
        exclusive: "always", "never", or "auto": where there is an accelerator to share.
    """

    def __init__(self, providers: ProviderPool, events: EventLog, exclusive: str) -> None:
        self._providers = providers
        self._events = events
        self._shared = exclusive == "never" or (exclusive == "auto" and not has_accelerator())
        self._serving = 0
        self._trainer: str | None = None
        self._next_trainer: str | None = None
        self._changed = asyncio.Condition()

    async def recover(self) -> bool:
        """Wake serving if an engine died while it slept; whether that was so."""
        last = await asyncio.to_thread(
            self._events.newest, SUBJECT, "serving_slept", "serving_woke"
        )
        if last is None or last.kind == "serving_woke":
            return False
        await self._providers.wake_all()
        await self._tell("serving_woke", "schedule", after="the engine was started again")
        return True

    @asynccontextmanager
    async def serving(self, report: Report) -> AsyncIterator[None]:
        """Serve within the block; waits while a job trains, or a user's job waits to."""
        if self._shared:
            yield
            return
        async with self._changed:
            while (trainer := self._trainer or self._next_trainer) is not None:
                report(0.0, f"waits: the model sleeps while job {trainer} trains")
                await self._changed.wait()
            self._serving += 1
        try:
            yield
        finally:
            await self._leave()

    @asynccontextmanager
    async def training(
        self, job_id: str, report: Report, *, polite: bool = False
    ) -> AsyncIterator[None]:
        """Train within the block, with the accelerator free; waits for jobs that serve.

        Args:
            polite: let jobs that want to serve go first, for as long as some do.
        """
        if self._shared:
            yield
            return
        await self._take(job_id, report, polite)
        try:
            await self._tell("serving_slept", job_id)
            await self._providers.sleep_all()
            yield
        finally:
            await self._wake(job_id)

    async def _take(self, job_id: str, report: Report, polite: bool) -> None:
        async with self._changed:
            try:
                while self._serving or self._trainer or self._next_trainer not in (None, job_id):
                    if not polite and self._next_trainer is None:
                        self._next_trainer = job_id
                    report(0.0, "waits: the model is in use")
                    await self._changed.wait()
                self._trainer = job_id
            finally:
                if self._next_trainer == job_id:
                    self._next_trainer = None
                    self._changed.notify_all()

    async def _wake(self, job_id: str) -> None:
        try:
            await self._providers.wake_all()
            await self._tell("serving_woke", job_id)
        finally:
            async with self._changed:
                self._trainer = None
                self._changed.notify_all()

    async def _leave(self) -> None:
        async with self._changed:
            self._serving -= 1
            self._changed.notify_all()

    async def _tell(self, kind: EventKind, caused_by: str, **facts: str) -> None:
        append = self._events.append
        await asyncio.to_thread(append, kind, SUBJECT, caused_by=caused_by, **facts)


class Serves:
    """Work that asks the model: it waits while another job trains."""

    def __init__(self, lease: AcceleratorLease, work: Work) -> None:
        self._lease = lease
        self._work = work

    async def __call__(self, job: Job, report: Report) -> Model:
        async with self._lease.serving(report):
            return await self._work(job, report)


class Trains:
    """Work that trains: serving sleeps meanwhile."""

    def __init__(self, lease: AcceleratorLease, work: Work) -> None:
        self._lease = lease
        self._work = work

    async def __call__(self, job: Job, report: Report) -> Model:
        async with self._lease.training(job.id, report, polite=job.priority < 0):
            return await self._work(job, report)
