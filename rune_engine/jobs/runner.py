"""Claims queued jobs and runs them, each kind up to its own number at once.

The one driver of jobs: whatever a job raises ends as the error on its row. When the runner stops,
running rows are left as they are, and the next engine's `JobStore.recover` takes them up again.
Knows nothing of what the work is.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from rune_engine.errors import RuneError
from rune_engine.jobs.progress import ProgressWriter, Report
from rune_engine.jobs.store import JobStore
from rune_engine.models import Job, JobKind, Model

log = logging.getLogger(__name__)


class Work(Protocol):
    """What one kind of job does. Cancelling it must stop all that it has started."""

    async def __call__(self, job: Job, report: Report) -> Model: ...


class JobRunner:
    """Runs jobs on the current event loop.

    Args:
        store: the rows.
        work: what to do for each kind of job.
        capacity: how many jobs of each kind may run at once.
        scratch: each job may use the folder `scratch / job.id`; it goes when the job has ended.
        owner: written on claimed rows.
        on_crash: told of an error that is no job's own, such as a full disk under the rows.
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
    ) -> None:
        self._store = store
        self._work = work
        self._capacity = capacity
        self._scratch = scratch
        self._owner = owner
        self._on_crash = on_crash
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._kinds: dict[str, JobKind] = {}
        self._cancellable: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        """True while a job runs; a queued job only ever waits behind running ones."""
        return bool(self._kinds) or self._wake.is_set()

    def start(self) -> None:
        """Take up what is queued, and whatever `wake` announces."""
        self._wake.set()
        self._track(asyncio.create_task(self._dispatch(), name="dispatch"))

    def wake(self) -> None:
        """Say that a job has been queued."""
        self._wake.set()

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job: a queued one ends at once, a running one as soon as its work has stopped.

        Raises:
            JobNotFoundError: there is no such job.
        """
        job = await asyncio.to_thread(self._store.cancel, job_id)
        task = self._cancellable.pop(job_id, None)
        if task is not None:
            task.cancel()
        return job

    async def stop(self) -> None:
        """Stop all work; returns when nothing of it is left."""
        self._stopping = True
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

    async def _dispatch(self) -> None:
        while True:
            await self._wake.wait()
            while not self._stopping and (job := await self._claim()) is not None:
                self._begin(job)
            self._wake.clear()
            if self._stopping:
                return

    async def _claim(self) -> Job | None:
        # Cleared before the look, so that a job queued during it is looked for again.
        self._wake.clear()
        running = list(self._kinds.values())
        free = [kind for kind in self._work if running.count(kind) < self._capacity[kind]]
        if not free:
            return None
        return await asyncio.to_thread(self._store.claim, self._owner, free)

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job), name=job.id)
        self._kinds[job.id] = job.kind
        self._cancellable[job.id] = task
        self._track(task)

    async def _run(self, job: Job) -> None:
        try:
            try:
                record = await self._outcome(job)
            finally:
                self._cancellable.pop(job.id, None)
            await asyncio.to_thread(record)
            await asyncio.to_thread(shutil.rmtree, self._scratch / job.id, ignore_errors=True)
        finally:
            self._kinds.pop(job.id, None)
            self._wake.set()

    async def _outcome(self, job: Job) -> Callable[[], object]:
        """Do the work; what to write on the row is returned, so that nothing can interrupt it."""
        store = self._store
        try:
            # A cancel that came between the claim and this task found no task to cancel.
            if await asyncio.to_thread(store.is_cancel_requested, job.id):
                return lambda: store.mark_cancelled(job.id)
            async with ProgressWriter(store, job.id) as report:
                result = await self._work[job.kind](job, report)
        except asyncio.CancelledError:
            if self._stopping:
                raise
            return lambda: store.mark_cancelled(job.id)
        except RuneError as error:
            envelope = error.to_envelope()
        except Exception as error:
            log.exception("Job %s failed in a way nobody foresaw", job.id)
            envelope = RuneError(
                f"The job failed with {type(error).__name__}: {error}"[:2000],
                next_step="The engine's log has the details; please report this.",
            ).to_envelope()
        else:
            return lambda: store.succeed(job.id, result.model_dump(mode="json"))
        return lambda: store.fail(job.id, envelope)
