"""Claims queued jobs and runs them, each kind up to its own number at once.

The one driver of jobs: whatever a job raises ends as the error on its row, and what may pass by
itself is tried again later. When the runner stops, its jobs are given back to the queue; those of
a runner that died are taken up by the next. Knows nothing of what the work is.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rune_engine.errors import DatabaseBusyError, RuneError, StaleAttemptError
from rune_engine.jobs.progress import ProgressWriter, Report
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.times import HEARTBEAT_SECONDS
from rune_engine.models import FINISHED, Job, JobKind, Model

log = logging.getLogger(__name__)


class Work(Protocol):
    """What one kind of job does. Cancelling it must stop all that it has started."""

    async def __call__(self, job: Job, report: Report) -> Model: ...


class JobRunner:
    """Runs jobs on the current event loop.

    Args:
        store: the rows.
        work: what to do for each kind of job; jobs of other kinds stay queued.
        capacity: how many jobs of each kind may run at once.
        scratch: each job may use the folder `scratch / job.id`; it goes when the job has ended.
        owner: written on claimed rows; see `owner.this_process`.
        on_crash: told of an error that is no job's own, such as a full disk under the rows.
        on_end: told of each job that has ended, or went back to the queue.
    """

    def __init__(
        self,
        store: JobStore,
        work: Mapping[JobKind, Work],
        *,
        capacity: Mapping[JobKind, int],
        scratch: Path,
        owner: str,
        on_crash: Callable[[BaseException], None],
        on_end: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._work = work
        self._capacity = capacity
        self._scratch = scratch
        self._owner = owner
        self._on_end = on_end
        self._on_crash = on_crash
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._waiting = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[str, Job] = {}
        self._cancellable: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        """True while a job runs, or waits for its turn or its time, or may be found to."""
        return bool(self._running) or self._waiting or self._wake.is_set()

    def start(self) -> None:
        """Take up what is queued, and whatever `wake` announces."""
        self._wake.set()
        self._track(asyncio.create_task(self._dispatch(), name="dispatch"))
        self._track(asyncio.create_task(self._keep_alive(), name="heartbeat"))

    def wake(self) -> None:
        """Say that a job has been queued."""
        self._wake.set()

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job: a queued one ends at once, a running one as soon as its work has stopped.

        Raises:
            JobNotFoundError: there is no such job.
        """
        job = await asyncio.to_thread(self._store.cancel, job_id)
        self._cancel_task(job_id)
        if job_id not in self._running:
            await self._clear_scratch(job)
            self._on_end(job)
            self._wake.set()
        return job

    async def stop(self) -> None:
        """Stop all work and give it back; returns when nothing of it is left."""
        self._stopped.set()
        self._wake.set()
        for task in self._cancellable.values():
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _track(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._untrack)

    def _untrack(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_crash(error)

    def _cancel_task(self, job_id: str) -> None:
        task = self._cancellable.pop(job_id, None)
        if task is not None:
            task.cancel()

    # --- taking jobs -------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        while not self._stopped.is_set():
            # Cleared before the look, so that a job queued during it is looked for again.
            self._wake.clear()
            self._waiting = True
            seconds = HEARTBEAT_SECONDS
            try:
                while not self._stopped.is_set() and (job := await self._claim()) is not None:
                    self._begin(job)
                seconds = await self._seconds_to_next()
            except DatabaseBusyError as error:
                log.warning("Jobs have to wait: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), seconds)

    async def _claim(self) -> Job | None:
        free = self._free()
        if not free:
            return None
        return await asyncio.to_thread(self._store.claim, self._owner, free)

    def _free(self) -> list[JobKind]:
        running = [job.kind for job in self._running.values()]
        return [kind for kind in self._work if running.count(kind) < self._capacity[kind]]

    async def _seconds_to_next(self) -> float:
        """How long to sleep: until the next job that could start is due, or a heartbeat."""
        waiting = await asyncio.to_thread(self._store.seconds_to_next, list(self._work))
        self._waiting = waiting is not None
        if waiting is None or not (free := self._free()):
            return HEARTBEAT_SECONDS
        next_one = await asyncio.to_thread(self._store.seconds_to_next, free)
        return HEARTBEAT_SECONDS if next_one is None else min(next_one, HEARTBEAT_SECONDS)

    async def _keep_alive(self) -> None:
        """Renew the leases of what runs here, and take up what nobody runs any more."""
        while not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), HEARTBEAT_SECONDS)
                return
            try:
                await self._beat()
            except DatabaseBusyError as error:
                log.warning("Leases could not be renewed: %s", error)

    async def _beat(self) -> None:
        if self._running:
            mine = list(self._running.values())
            told = await asyncio.to_thread(self._store.heartbeat, mine)
            # A job that has ended meanwhile has no task any more.
            for job in mine:
                if job.id in told.lost | told.cancelled and self._running.get(job.id) is job:
                    self._cancel_task(job.id)
        for job in await asyncio.to_thread(self._store.take_up):
            log.info("Job %s was interrupted; it is %s now", job.id, job.status)
            await self._clear_scratch(job)
            self._on_end(job)
            self._wake.set()

    # --- running them ------------------------------------------------------------------------

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job), name=job.id)
        self._running[job.id] = job
        self._cancellable[job.id] = task
        self._track(task)

    async def _run(self, job: Job) -> None:
        try:
            try:
                record = await self._outcome(job)
            finally:
                self._cancellable.pop(job.id, None)
            ended = await asyncio.to_thread(record)
            await self._clear_scratch(ended)
            self._on_end(ended)
        except StaleAttemptError as error:
            log.warning("What job %s did is discarded: %s", job.id, error)
        finally:
            if self._running.get(job.id) is job:
                del self._running[job.id]
            self._wake.set()

    async def _outcome(self, job: Job) -> Callable[[], Job]:
        """Do the work; what to write on the row is returned, so that nothing can interrupt it."""
        store = self._store
        try:
            # A cancel that came between the claim and this task found no task to cancel.
            if await asyncio.to_thread(store.is_cancel_requested, job.id):
                return lambda: store.mark_cancelled(job)
            async with ProgressWriter(store, job) as report:
                result = await self._work[job.kind](job, report)
        except asyncio.CancelledError:
            if self._stopped.is_set():
                return lambda: store.release(job)
            return lambda: store.mark_cancelled(job)
        except RuneError as error:
            failure = error
        except Exception as error:
            log.exception("Job %s failed in a way nobody foresaw", job.id)
            failure = RuneError(
                f"The job failed with {type(error).__name__}: {error}"[:2000],
                next_step="The engine's log has the details; please report this.",
            )
        else:
            return lambda: store.succeed(job, result.model_dump(mode="json"))
        return lambda: store.fail(job, failure.to_envelope(), retryable=failure.retryable)

    async def _clear_scratch(self, job: Job) -> None:
        if job.status in FINISHED:
            await asyncio.to_thread(shutil.rmtree, self._scratch / job.id, ignore_errors=True)
