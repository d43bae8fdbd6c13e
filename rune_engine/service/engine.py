"""What the engine process is made of, and what its routes ask of it.

One object owns the database, the stores, the providers and the job runner, and decides when the
process should end. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from contextlib import suppress
from typing import Self, Unpack

import rune_engine
from rune_engine.capture.captures import Captures
from rune_engine.config import RuneConfig
from rune_engine.consolidation.consolidator import Consolidator
from rune_engine.database import Database, open_database
from rune_engine.errors import BaseModelNotFoundError
from rune_engine.evaluation.choosing import Chooser
from rune_engine.evaluation.comparing import compare
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.events import EventLog
from rune_engine.extras import require
from rune_engine.forgetting import Forgetting
from rune_engine.inference.factory import ProviderPool
from rune_engine.jobs import submission
from rune_engine.jobs.evolve import Evolve
from rune_engine.jobs.lease import AcceleratorLease
from rune_engine.jobs.owner import this_process
from rune_engine.jobs.runner import JobRunner
from rune_engine.jobs.store import JobOptions, JobStore
from rune_engine.jobs.trainer import Trainers
from rune_engine.jobs.undo import Undo
from rune_engine.models import (
    FINISHED,
    CompareParams,
    Comparison,
    ConsolidateParams,
    DistillParams,
    EngineHealth,
    EvaluateParams,
    EvolutionPlan,
    EvolveParams,
    ImportParams,
    Job,
    JobKind,
    MemoryStatus,
    Model,
    OpenAIStatus,
    ProjectState,
    RecordedTrajectory,
    RecordingParams,
    RetrievedAdapter,
    RetrieveParams,
    RunTaskParams,
    TrajectoryDraft,
)
from rune_engine.models.mining import MineParams
from rune_engine.rates import PerMinute
from rune_engine.registry import AdapterRegistry
from rune_engine.routing.router import Router
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.service.changes import ChangeFeed
from rune_engine.service.limits import Activity
from rune_engine.service.status import memory_status, project_status
from rune_engine.service.work import CAPACITY, work_of
from rune_engine.trajectories import Consent, TrajectoryStore
from rune_engine.trajectories.redaction import redact_params, redacted_in

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_IDLE_CHECK_SECONDS = 0.5
_DUE_CHECK_SECONDS = 30.0


class Engine:
    """The parts of one running engine; belongs to one event loop.

    Args:
        config: the resolved configuration.
        database: open, and closed by `close`.
        trainers: how trainers are started.
        stays: whether it goes on when it is idle.
    """

    def __init__(
        self, config: RuneConfig, database: Database, trainers: Trainers, *, stays: bool = False
    ) -> None:
        self.config = config
        self.stays = stays
        self.events = EventLog(database)
        self.changes = ChangeFeed(database)
        self.registry = AdapterRegistry(database, config)
        self.trajectories = TrajectoryStore(database)
        self.consent = Consent(database)
        self.evaluations = EvaluationStore(database)
        self.router = Router(self.registry, config.routing, self.evaluations.difference)
        self.jobs = JobStore(database)
        self.forgetting = Forgetting(database, config)
        self.providers = ProviderPool(config)
        self.sandbox = Sandbox(config.sandbox, hidden=config.home)
        self.activity = Activity()
        self.recording_rate = PerMinute(config.capture.max_recorded_per_minute)
        self.lease = AcceleratorLease(self.providers, self.events, config.exclusive)
        work = work_of(
            config,
            database,
            registry=self.registry,
            router=self.router,
            trajectories=self.trajectories,
            jobs=self.jobs,
            providers=self.providers,
            sandbox=self.sandbox,
            lease=self.lease,
            trainers=trainers,
        )
        self._evolve = work["evolve"]
        self.undo = Undo(database)
        self.runner = JobRunner(
            self.jobs,
            work,
            capacity=CAPACITY,
            scratch=config.jobs_path,
            owner=this_process(),
            on_end=self._job_ended,
            on_crash=self._crashed,
        )
        self.consolidator = Consolidator(
            config,
            database,
            self.jobs,
            kinds=tuple(work),
            quiet_seconds=self.activity.quiet_seconds,
            queued=self.runner.wake,
            on_crash=self._crashed,
        )
        self.captures = Captures(
            config,
            database,
            self.trajectories,
            on_stored=self.consolidator.wake,
            on_activity=self.activity.touch,
            on_crash=self._crashed,
        )
        self.openai = OpenAIStatus(base_url=None, detail="It is off.")
        self._database = database
        self._told_to_stop = asyncio.Event()

    @classmethod
    def open(
        cls, config: RuneConfig, trainers: Trainers | None = None, *, stays: bool = False
    ) -> Self:
        """Open the home's database and everything over it; call `start` to run jobs.

        Raises:
            StorageError: the database cannot be opened.
        """
        return cls(config, open_database(config), trainers or Trainers(), stays=stays)

    async def start(self) -> None:
        """Take up the jobs that the last engine left, then whatever comes."""
        for job in self.jobs.take_up():
            log.info("Job %s was interrupted; it is %s now", job.id, job.status)
        self._sweep_scratch()
        if await self.lease.recover():
            log.info("The last engine ended while serving slept; it is awake again")
        self.runner.start()
        self.consolidator.start()
        self.captures.start()

    async def close(self) -> None:
        """Stop all work and free everything; nothing that was started is left."""
        await self.captures.stop()
        await self.consolidator.stop()
        await self.runner.stop()
        await self.providers.close_all()
        self._database.close()

    # --- when to end ----------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        return self._told_to_stop.is_set()

    def request_stop(self) -> None:
        self._told_to_stop.set()

    async def wait_until_told_to_stop(self, serving: asyncio.Task[None]) -> None:
        """Return on `request_stop`, when nothing has happened for long, or if `serving` ends."""
        if self.stays:
            told = asyncio.create_task(self._told_to_stop.wait())
            await asyncio.wait([told, serving], return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            return
        while not self.stopping and not serving.done():
            if self.runner.busy:
                self.activity.touch()
            left = self.config.idle_seconds - self.activity.idle_seconds()
            pause = min(left, _IDLE_CHECK_SECONDS)
            if left <= 0:
                due_in = await self.consolidator.seconds_until_due()
                if due_in is None:
                    log.info("Nothing to do for %g s", self.config.idle_seconds)
                    return
                pause = min(due_in, _DUE_CHECK_SECONDS) + _IDLE_CHECK_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), pause)

    def _job_ended(self, job: Job) -> None:
        if job.priority >= 0:
            self.activity.asked()
        self.consolidator.wake(job.project_id if job.kind == "run_task" else None)

    def _crashed(self, error: BaseException) -> None:
        log.error("The job runner or the schedule failed; the engine stops", exc_info=error)
        self.request_stop()

    def _sweep_scratch(self) -> None:
        """Remove the folders of jobs that ended while nobody could."""
        if not self.config.jobs_path.exists():
            return
        waiting = {job.id for job in self.jobs.unfinished()}
        for folder in self.config.jobs_path.iterdir():
            if folder.name not in waiting:
                shutil.rmtree(folder, ignore_errors=True)

    # --- what the routes ask --------------------------------------------------------------------

    def record(self, draft: TrajectoryDraft) -> RecordedTrajectory:
        trajectory, duplicate = self.trajectories.record(draft)
        self.consolidator.wake()
        return RecordedTrajectory(
            trajectory_id=trajectory.id,
            session_id=trajectory.session_id,
            duplicate=duplicate,
            distillable_trajectories=self.trajectories.count_distillable(trajectory.project_id),
            redacted=redacted_in(trajectory),
        )

    def project(self, project_id: str) -> ProjectState:
        """What is held of a project, which may be nothing."""
        status = project_status(project_id, self.trajectories, self.registry)
        return ProjectState(**status.model_dump(), recorded=self.consent.is_recorded(project_id))

    def set_recording(self, params: RecordingParams) -> ProjectState:
        self.consent.set(params.project_id, recorded=params.recorded)
        return self.project(params.project_id)

    def retrieve(self, params: RetrieveParams) -> RetrievedAdapter:
        base_model_id = self.providers.get(params.base_model).base_model_id
        return self.router.retrieve(
            params.project_id,
            params.domain,
            params.task_type,
            base_model_id,
            params.task_description,
        )

    def compare(self, params: CompareParams) -> Comparison:
        return compare(
            params.adapter_id,
            params.other_id,
            registry=self.registry,
            evaluations=self.evaluations,
            chooser=Chooser(self._database, self.registry, self.trajectories),
        )

    async def submit_run_task(self, params: RunTaskParams, **options: Unpack[JobOptions]) -> Job:
        """Queue a task without its secrets, once nothing is known that would make it fail."""
        params = await asyncio.to_thread(redact_params, params)
        provider = self.providers.get(params.base_model)
        check = submission.check_run_task
        await asyncio.to_thread(check, params, provider.base_model_id, self.registry)
        return await self._enqueue("run_task", params, **options)

    async def submit_distill(self, params: DistillParams, **options: Unpack[JobOptions]) -> Job:
        """Queue a distillation, once there is something to distill and a model to distill for."""
        check = submission.check_distill
        await asyncio.to_thread(check, params, self.config, self.trajectories)
        return await self._enqueue("distill", params, **options)

    async def submit_evaluate(self, params: EvaluateParams, **options: Unpack[JobOptions]) -> Job:
        """Queue an evaluation: by tasks that the adapter was not trained on, or by a suite."""
        provider = self.providers.get(params.base_model)
        adapter = await asyncio.to_thread(
            submission.check_evaluate,
            params,
            provider.base_model_id,
            self.registry,
            self.trajectories,
        )
        if adapter is not None:
            options.setdefault("project_id", adapter.project_id)
        return await self._enqueue("evaluate", params, **options)

    async def submit_evolve(self, params: EvolveParams, **options: Unpack[JobOptions]) -> Job:
        """Queue a look at a project's adapters, or at one of them."""
        project_id = await asyncio.to_thread(submission.check_evolve, params, self.registry)
        options.setdefault("project_id", project_id)
        return await self._enqueue("evolve", params, **options)

    async def plan_evolution(self, params: EvolveParams) -> EvolutionPlan:
        """What such a job would decide of the project now; changes nothing."""
        project_id = await asyncio.to_thread(submission.check_evolve, params, self.registry)
        assert isinstance(self._evolve, Evolve)
        return await self._evolve.plan(project_id)

    async def submit_consolidate(
        self, params: ConsolidateParams, **options: Unpack[JobOptions]
    ) -> Job:
        """Queue the making of one adapter of several, if that one beats them."""
        provider = self.providers.get(params.base_model)
        check = submission.check_consolidate
        found = await asyncio.to_thread(check, params, provider.base_model_id, self.registry)
        require("torch", "Merging adapters")
        options.setdefault("project_id", found[0].project_id)
        return await self._enqueue("consolidate", params, **options)

    async def submit_import(self, params: ImportParams, **options: Unpack[JobOptions]) -> Job:
        """Queue the import of a file of trajectories."""
        await asyncio.to_thread(submission.check_import, params)
        return await self._enqueue("import", params, **options)

    async def submit_mine(self, params: MineParams, **options: Unpack[JobOptions]) -> Job:
        """Queue the mining of a repository's history."""
        await asyncio.to_thread(self.consent.require, params.project_id)
        await asyncio.to_thread(submission.check_mine, params)
        return await self._enqueue("mine", params, **options)

    async def wait_for_job(self, job_id: str, after_revision: int, seconds: float) -> Job:
        """The job once its revision is above `after_revision`, it ended, or time is up."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            job = await asyncio.to_thread(self.jobs.get, job_id)
            if job.revision > after_revision or job.status in FINISHED or self.stopping:
                return job
            if asyncio.get_running_loop().time() >= deadline:
                return job
            await asyncio.sleep(_POLL_SECONDS)

    def health(self) -> EngineHealth:
        return EngineHealth(
            version=rune_engine.__version__,
            pid=os.getpid(),
            busy=self.runner.busy,
            stays=self.stays,
        )

    async def status(self) -> MemoryStatus:
        try:
            provider = self.providers.get().status()
            base_model_id, name = provider.base_model_id, provider.name
        except BaseModelNotFoundError:
            base_model_id, name = self.config.base_model, "base model not found"
        workers = [pid for status in self.providers.statuses() for pid in status.worker_pids]
        return await asyncio.to_thread(
            memory_status,
            self.config,
            base_model_id,
            name,
            workers,
            self.sandbox,
            self.registry,
            self.trajectories,
            self.jobs,
        )

    async def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job anew, as another job."""
        job = await asyncio.to_thread(self.jobs.retry, job_id)
        self.runner.wake()
        return job

    async def _enqueue(self, kind: JobKind, params: Model, **options: Unpack[JobOptions]) -> Job:
        job = await asyncio.to_thread(lambda: self.jobs.enqueue(kind, params, **options))
        self.runner.wake()
        return job
