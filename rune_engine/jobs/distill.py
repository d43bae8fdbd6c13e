"""The `distill` job: a project's successful trajectories become one adapter.

Writes the trainer's job file, runs the trainer, registers what it left. Knows nothing of how
training works. A job that was interrupted learns from the same trajectories when it is started
again, so that its trainer can go on from its last checkpoint; one that was interrupted after its
training is not trained again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlmodel import Session

from rune_engine.config import RuneConfig
from rune_engine.durable import flush_folder, flush_tree
from rune_engine.errors import AdapterAlreadyExistsError, TrainingError
from rune_engine.home import not_writable
from rune_engine.jobs.methods import method_for
from rune_engine.jobs.progress import Report
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.submission import find_base_model, gather
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import (
    DistillParams,
    DistillResult,
    HierarchyLevel,
    Job,
    LearntRole,
    TrainerJob,
    TrainerResult,
    Trajectory,
)
from rune_engine.registry import (
    AdapterDraft,
    AdapterFilter,
    AdapterRegistry,
    AdapterWeights,
    refits,
)
from rune_engine.trajectories import TrajectoryStore

_REGISTER_AT = 0.99


class Distill:
    """Runs `distill` jobs in `config.jobs_path / job.id`; the runner removes that folder."""

    def __init__(
        self,
        config: RuneConfig,
        registry: AdapterRegistry,
        trajectories: TrajectoryStore,
        trainers: Trainers,
        jobs: JobStore,
    ) -> None:
        self._config = config
        self._registry = registry
        self._trajectories = trajectories
        self._trainers = trainers
        self._jobs = jobs

    async def __call__(self, job: Job, report: Report) -> DistillResult:
        params = DistillParams.model_validate(job.params)
        folder = _JobFolder(self._config.jobs_path / job.id)
        result = await asyncio.to_thread(folder.result)
        if result is None:
            report(0.0, "gathering trajectories")
            chosen = await self._jobs.steps(job).run(
                "trajectories", lambda: asyncio.to_thread(self._choose, params)
            )
            trainer_job = await asyncio.to_thread(self._prepare, job.id, params, folder, chosen)
            result = await self._trainers.train(
                trainer_job,
                folder.path,
                lambda done, what: report(done * _REGISTER_AT, what),
                polite=job.priority < 0,
            )
            await asyncio.to_thread(folder.keep_result, result)
        report(_REGISTER_AT, "registering the adapter")
        return await _to_the_end(lambda: self._register(job.id, params, folder, result))

    def _choose(self, params: DistillParams) -> list[str]:
        return [trajectory.id for trajectory in gather(params, self._trajectories)]

    def _prepare(
        self, job_id: str, params: DistillParams, folder: _JobFolder, chosen: Sequence[str]
    ) -> TrainerJob:
        """Lay out the job's folder, without what was recorded or forgotten since it was chosen."""
        model = find_base_model(params, self._config)
        found = gather(params.model_copy(update={"trajectory_ids": None}), self._trajectories)
        folder.begin([trajectory for trajectory in found if trajectory.id in set(chosen)])
        return TrainerJob(
            job_id=job_id,
            adapter_id=_adapter_id(job_id),
            project_id=params.project_id,
            base_model_id=model.id,
            base_model_path=str(model.path),
            trajectories_path=str(folder.trajectories_path),
            output_path=str(folder.output_path),
            tracking_path=str(self._config.tracking_path),
            rank=params.rank,
            max_steps=params.max_steps,
            learning_rate=params.learning_rate,
            method=method_for(params, model),
            memory_limit_bytes=self._config.training_memory_bytes,
            seed=params.seed,
            threads=self._config.model_threads,
            checkpoint_path=str(folder.checkpoints_path),
            checkpoint_seconds=self._config.checkpoint_seconds,
            statistics_path=str(self._config.statistics_path),
        )

    def _register(
        self, job_id: str, params: DistillParams, folder: _JobFolder, result: TrainerResult
    ) -> DistillResult:
        trajectories = folder.trajectories()
        draft = self._draft(job_id, params, trajectories)
        try:
            self._registry.store(
                draft,
                folder.weights(),
                learnt_from=_roles(trajectories, params.kept_back_ids),
                caused_by=job_id,
                then=_settling(draft.id, job_id) if params.refit_of else None,
            )
        except AdapterAlreadyExistsError:
            # The engine died between the registry's commit and the row's. The id is this job's
            # own, so the adapter is the one that this job trained.
            self._registry.retrieve_by_id(draft.id)
        return DistillResult(
            adapter_id=draft.id,
            trajectories=len(trajectories),
            **result.model_dump(exclude={"rank"}),
        )

    def _draft(
        self, job_id: str, params: DistillParams, trajectories: Sequence[Trajectory]
    ) -> AdapterDraft:
        model_id = find_base_model(params, self._config).id
        level = _level(params)
        earlier = AdapterFilter(
            project_id=params.project_id,
            base_model_id=model_id,
            hierarchy_level=level,
            include_archived=True,
        )
        return AdapterDraft(
            id=_adapter_id(job_id),
            project_id=params.project_id,
            base_model_id=model_id,
            session_id=max(trajectories, key=lambda t: t.created_at).session_id,
            source="distillation",
            hierarchy_level=level,
            version=1 + self._registry.count(earlier),
            parent_ids=[params.refit_of] if params.refit_of else [],
            training_task_hash=_training_task_hash(trajectories, model_id),
            domain=params.domain or _shared({t.domain for t in trajectories}, "general"),
            task_type=params.task_type
            or _shared({t.task_type for t in trajectories}, "feature-impl"),
        )


def _adapter_id(job_id: str) -> str:
    """The one id that this job's adapter can have, however often the job is started."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"rune:distill:{job_id}"))


def _roles(trained: Sequence[Trajectory], kept_back: Sequence[str]) -> dict[str, LearntRole]:
    roles: dict[str, LearntRole] = dict.fromkeys(kept_back, "kept_back")
    return roles | {trajectory.id: "trained" for trajectory in trained}


def _settling(adapter_id: str, job_id: str) -> Callable[[Session], None]:
    return lambda session: refits.settle(session, adapter_id, caused_by=job_id)


def _level(params: DistillParams) -> HierarchyLevel:
    """The most specific level that the parameters name."""
    if params.task_type is not None:
        return "task"
    return "project" if params.domain is None else "domain"


def _shared(values: set[str], otherwise: str) -> str:
    """The one value that all trajectories have in common."""
    return values.pop() if len(values) == 1 else otherwise


def _training_task_hash(trajectories: Sequence[Trajectory], base_model_id: str) -> str:
    """SHA-256 over what was trained on, in any order, and for which model."""
    lines = [*sorted(trajectory.content_hash for trajectory in trajectories), base_model_id]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _JobFolder:
    """The files between the engine and one trainer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trajectories_path = path / "trajectories.jsonl"
        self.output_path = path / "output"
        self.checkpoints_path = path / "checkpoints"
        self._result_path = path / "result.json"

    def begin(self, trajectories: Sequence[Trajectory]) -> None:
        """Lay the trajectories out, and an empty folder for the adapter; checkpoints stay."""
        shutil.rmtree(self.output_path, ignore_errors=True)
        try:
            self.output_path.mkdir(parents=True)
            with self.trajectories_path.open("w", encoding="utf-8") as lines:
                lines.writelines(f"{trajectory.model_dump_json()}\n" for trajectory in trajectories)
        except OSError as error:
            raise not_writable(self.path, error) from error

    def trajectories(self) -> list[Trajectory]:
        with self.trajectories_path.open(encoding="utf-8") as lines:
            return [Trajectory.model_validate_json(line) for line in lines]

    def keep_result(self, result: TrainerResult) -> None:
        """Mark the training as done: once all it left is on disk, as the mark is believed."""
        new = self._result_path.with_suffix(".new")
        try:
            new.write_text(result.model_dump_json(), encoding="utf-8")
            flush_tree(self.path)
            new.replace(self._result_path)
            flush_folder(self.path)
        except OSError as error:
            raise not_writable(self.path, error) from error

    def result(self) -> TrainerResult | None:
        """The result of a training that was done before the engine died."""
        if not self._result_path.exists():
            return None
        return TrainerResult.model_validate_json(self._result_path.read_text(encoding="utf-8"))

    def weights(self) -> AdapterWeights:
        """What the trainer left.

        Raises:
            TrainingError: it left no adapter.
        """
        weights = self.output_path / "adapter_model.safetensors"
        try:
            config = json.loads((self.output_path / "adapter_config.json").read_bytes())
            weights.stat()
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"The trainer reported a result but left no usable adapter: {error}",
                next_step="This is a defect of the trainer; please report it.",
            ) from error
        return AdapterWeights(safetensors=weights, config=config)


async def _to_the_end(work: Callable[[], DistillResult]) -> DistillResult:
    """Do `work` on a thread. A cancel that comes meanwhile comes too late."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
    return task.result()
