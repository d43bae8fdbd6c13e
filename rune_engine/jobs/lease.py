"""S16, who has the accelerator: any number of jobs and requests that serve, or one that trains.

While a job trains, serving sleeps; what would serve waits, and is told why. A lifecycle event
tells of each change, so that an engine that died in between wakes serving when it starts again.
Nobody waits for ever: those who waited while a job trained are served before the next trains, and
a polite trainer's patience ends. Where nothing is shared, both run at once. Knows nothing of what
the jobs do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from rune_engine.errors import RuneError, StorageError
from rune_engine.events import EventLog
from rune_engine.hardware import has_accelerator
from rune_engine.inference.factory import ProviderPool
from rune_engine.jobs.progress import Report
from rune_engine.jobs.runner import Work
from rune_engine.jobs.sleepers import PROVIDER_SECONDS, Sleepers
from rune_engine.models import EventKind, Job, Model

log = logging.getLogger(__name__)

SUBJECT = "serving"
PATIENCE_SECONDS = 900.0
"""How long a polite trainer lets others go first."""

_RECOVERY_SECONDS = 5.0
"""A starting engine has clients who wait for it."""


def takes_turns(exclusive: str) -> bool:
    """Whether training and serving take turns here, by the setting of that name."""
    return exclusive == "always" or (exclusive == "auto" and has_accelerator())


class AcceleratorLease:
    """Lets training and serving take turns; belongs to one event loop.

    Its state changes between two awaits only, so no cancelled task can leave it half changed.

    Args:
        exclusive: "always", "never", or "auto": where there is an accelerator to share.
        patience_seconds: how long a polite trainer lets others go first.
        provider_seconds: how long one back-end may take to fall asleep or to wake.
    """

    def __init__(
        self,
        providers: ProviderPool,
        events: EventLog,
        exclusive: str,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        provider_seconds: float = PROVIDER_SECONDS,
    ) -> None:
        self._providers = providers
        self._events = events
        self._shared = not takes_turns(exclusive)
        self._patience = patience_seconds
        self._sleepers = Sleepers(providers, provider_seconds)
        self._serving = 0
        self._trainer: str | None = None
        self._next_trainer: str | None = None
        self._waiting: set[object] = set()
        self._served_first: set[object] = set()
        self._changed = asyncio.Event()

    async def recover(self) -> bool:
        """Wake serving if an engine died while it slept; whether it did so.

        What cannot be woken soon is tried again by whoever asks it first.
        """
        last = await asyncio.to_thread(
            self._events.newest, SUBJECT, "serving_slept", "serving_woke"
        )
        if last is None or last.kind == "serving_woke":
            return False
        self._sleepers.take_over(last.payload.get("base_models", ()))
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECOVERY_SECONDS):
                await self._wake("schedule", after="the engine was started again")
        return not self._sleepers.asleep

    @asynccontextmanager
    async def serving(self, report: Report, base_model: str | None = None) -> AsyncIterator[None]:
        """Serve within the block; waits while a job trains, or a user's job waits to.

        Must not be nested: the inner one could wait for a trainer that waits for the outer one.

        Args:
            report: told why it waits, each time that the reason changes.
            base_model: which will be asked; the configured one by default.

        Raises:
            RuneError: this base model's back-end sleeps and could not be woken.
        """
        if self._shared:
            yield
            return
        await self._enter(report)
        try:
            await self._require_awake(base_model)
            yield
        finally:
            self._serving -= 1
            self._announce()

    @asynccontextmanager
    async def training(
        self, job_id: str, report: Report, *, polite: bool = False
    ) -> AsyncIterator[None]:
        """Train within the block, with the accelerator free; waits for those who serve.

        Args:
            polite: let those who want to serve go first, for as long as some do and for no
                longer than the lease's patience.

        Raises:
            RuneError: a back-end did not fall asleep; serving is awake again.
        """
        if self._shared:
            yield
            return
        await self._take(job_id, report, polite)
        try:
            await _to_the_end(self._put_to_sleep(job_id))
            yield
        finally:
            await _to_the_end(self._give_back(job_id))

    # --- waiting -----------------------------------------------------------------------------

    async def _enter(self, report: Report) -> None:
        me, told = object(), ""
        self._waiting.add(me)
        try:
            while why := self._why_serving_waits(me):
                if why != told:
                    report(0.0, told := why)
                await self._changed.wait()
            self._serving += 1
        finally:
            self._waiting.discard(me)
            self._served_first.discard(me)
            self._announce()

    def _why_serving_waits(self, me: object) -> str:
        """Empty when it need not."""
        if self._trainer is not None:
            return f"waits: the model sleeps while job {self._trainer} trains"
        if self._next_trainer is not None and me not in self._served_first:
            return f"waits: job {self._next_trainer} trains next"
        return ""

    async def _take(self, job_id: str, report: Report, polite: bool) -> None:
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + (self._patience if polite else 0.0)
        told = ""
        try:
            while why := self._why_training_waits(job_id):
                left = patient_until - loop.time()
                if left <= 0 and self._next_trainer is None:
                    self._next_trainer = job_id
                if why != told:
                    report(0.0, told := why)
                with suppress(TimeoutError):
                    async with asyncio.timeout(left if left > 0 else None):
                        await self._changed.wait()
            self._trainer = job_id
        finally:
            if self._next_trainer == job_id:
                self._next_trainer = None
                self._announce()

    def _why_training_waits(self, job_id: str) -> str:
        """Empty when it need not."""
        if self._trainer is not None:
            return f"waits: job {self._trainer} trains"
        if self._next_trainer not in (None, job_id):
            return f"waits: job {self._next_trainer} trains next"
        return "waits: the model is in use" if self._serving or self._served_first else ""

    def _announce(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    # --- sleeping and waking -----------------------------------------------------------------

    async def _put_to_sleep(self, job_id: str) -> None:
        names = sorted({*self._providers.everyone(), self._providers.name_of(None)})
        await self._tell("serving_slept", job_id, base_models=names)
        await self._sleepers.sleep()

    async def _give_back(self, job_id: str) -> None:
        """End the turn. A back-end that does not wake is the next one's trouble who asks it:
        what was trained is whole."""
        try:
            await self._wake(job_id)
        finally:
            self._trainer = None
            self._served_first |= self._waiting
            self._announce()

    async def _require_awake(self, base_model: str | None) -> None:
        if not self._sleepers.asleep:
            return
        failures = await self._wake("schedule", after="an earlier attempt had failed")
        failure = failures.get(self._providers.name_of(base_model))
        if failure is not None:
            raise failure

    async def _wake(self, caused_by: str, **facts: Any) -> dict[str, RuneError]:
        failures = await self._sleepers.wake()
        for name, failure in failures.items():
            log.error("Serving %s could not be woken: %s", name, failure)
        if not self._sleepers.asleep:
            try:
                await self._tell("serving_woke", caused_by, **facts)
            except StorageError as error:
                # Then the next engine wakes it once more, which changes nothing.
                log.warning("That serving woke could not be written down: %s", error)
        return failures

    async def _tell(self, kind: EventKind, caused_by: str, **facts: Any) -> None:
        await asyncio.to_thread(
            lambda: self._events.append(kind, SUBJECT, caused_by=caused_by, **facts)
        )


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Do all of `work`, even when cancelled meanwhile, and be cancelled then.

    Half an order to sleep would leave a server that falls asleep after it was woken.
    """
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    failure = task.exception()
    if cancelled:
        raise asyncio.CancelledError
    if failure is not None:
        raise failure


class Serves:
    """Work that asks the model: it waits while another job trains."""

    def __init__(self, lease: AcceleratorLease, work: Work) -> None:
        self._lease = lease
        self._work = work

    async def __call__(self, job: Job, report: Report) -> Model:
        async with self._lease.serving(report, job.params.get("base_model")):
            return await self._work(job, report)


class ServesAfterTraining:
    """Work that asks the model, after something was made for it while serving slept.

    Args:
        needed: whether a job needs that.
    """

    def __init__(
        self,
        lease: AcceleratorLease,
        prepare: Callable[[Job, Report], Awaitable[None]],
        work: Work,
        needed: Callable[[Job], bool],
    ) -> None:
        self._lease = lease
        self._prepare = prepare
        self._serves = Serves(lease, work)
        self._needed = needed

    async def __call__(self, job: Job, report: Report) -> Model:
        if self._needed(job):
            async with self._lease.training(job.id, report, polite=job.priority < 0):
                await self._prepare(job, report)
        return await self._serves(job, report)


class Trains:
    """Work that trains: serving sleeps meanwhile."""

    def __init__(self, lease: AcceleratorLease, work: Work) -> None:
        self._lease = lease
        self._work = work

    async def __call__(self, job: Job, report: Report) -> Model:
        async with self._lease.training(job.id, report, polite=job.priority < 0):
            return await self._work(job, report)
