"""A merge that leaves the parents' weights alone and distills all that they learnt from, together.

By statistics: the closed form over the union is the solve over the sum of every trajectory's kept
sums, so where all of them are kept no model is loaded. By a hypernetwork: one forward pass of it
over the same. By training: the direct trainer on the union.
"""

from __future__ import annotations

from pathlib import Path

from rune_engine.errors import MergeRefusedError, TrainingError
from rune_engine.models import TrainerJob
from rune_engine.models.merging import (
    JOINT_METHODS,
    AdapterFolder,
    MergeJob,
    MergeResult,
    Similarity,
)
from trainers.distilling import distill
from trainers.merging.adapters import read
from trainers.merging.compare import similarity
from trainers.protocol import Report


def distill_together(job: MergeJob, folder: Path, report: Report) -> MergeResult:
    """Leave the adapter of the parents' trajectories in `folder`.

    Raises:
        TrainingError: the job names no trajectories or no base model.
        RuneError: see the distillation's own `distill`.
    """
    found = distill(_distillation(job, folder), report)
    return MergeResult(
        method=job.method,
        rank=found.rank,
        modules=len(read(_folder(job, folder)).updates),
        delta_w_norm=found.delta_w_norm,
        parents=_alike(job),
        seconds=0.0,
        peak_memory_bytes=found.peak_memory_bytes,
        distilled=found,
    )


def _distillation(job: MergeJob, folder: Path) -> TrainerJob:
    if job.trajectories_path is None or job.base_model_path is None:
        raise TrainingError(
            f"A merge by {job.method!r} needs what the parents learnt from, and the base model.",
            next_step="Name both, or merge the weights alone.",
        )
    return TrainerJob(
        job_id=job.job_id,
        adapter_id=job.adapter_id,
        method=JOINT_METHODS[job.method],
        memory_limit_bytes=job.memory_limit_bytes,
        project_id=job.project_id,
        base_model_id=job.parents[0].base_model_id,
        base_model_path=job.base_model_path,
        trajectories_path=job.trajectories_path,
        output_path=str(folder),
        tracking_path=job.tracking_path,
        rank=job.rank,
        seed=job.seed,
        threads=job.threads,
        checkpoint_path=job.checkpoint_path,
        checkpoint_seconds=job.checkpoint_seconds,
        statistics_path=job.statistics_path,
    )


def _folder(job: MergeJob, folder: Path) -> AdapterFolder:
    return AdapterFolder(
        id=job.adapter_id, path=str(folder), base_model_id=job.parents[0].base_model_id
    )


def _alike(job: MergeJob) -> Similarity | None:
    """The parents' likeness; None where one of them is a DoRA."""
    try:
        return similarity([read(parent).updates for parent in job.parents])
    except MergeRefusedError:
        return None
