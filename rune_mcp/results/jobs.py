"""What the tools answer about work: short models made from the engine's `Job` rows.

A job's parameters are left out and long program output is cut; the whole of it stays in the stored
trajectory. Knows the wire models only.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rune_engine.errors import RuneError, TrainingError, from_envelope
from rune_engine.models import (
    FINISHED,
    Comparison,
    ConsolidateResult,
    DistillResult,
    EvaluateResult,
    EvolutionPlan,
    EvolutionStep,
    EvolveResult,
    Job,
    JobKind,
    JobStatus,
    Model,
    TaskResult,
)
from rune_mcp.results.texts import short

OUTPUT_CHARS = 4_000
"""Longest program output an answer carries, per stream and attempt."""


class JobError(Model):
    """Why a job failed, and what can be done about it."""

    code: str
    message: str
    next_step: str


class TaskRun(Model):
    """What `run_task` answers: the finished task, or the job that is still at it."""

    job_id: str
    status: JobStatus
    message: str
    result: TaskResult | None = Field(description="Null until the status is `succeeded`.")


class Distillation(Model):
    """What `distill` answers: the new adapter, or the job that is still at it."""

    job_id: str
    status: JobStatus
    message: str
    result: DistillResult | None = Field(description="Null until the status is `succeeded`.")


class Evolution(Model):
    """What `evolve_memory` answers: what was decided, or would be; or the job that is at it."""

    job_id: str | None = Field(description="Null for a dry run.")
    status: JobStatus | None
    message: str
    steps: list[EvolutionStep] = Field(
        description="The decisions in their order; none until the status is `succeeded`."
    )


class Evaluation(Model):
    """What `evaluate_adapter` answers: what was found, or the job that is still at it."""

    job_id: str
    status: JobStatus
    message: str
    result: EvaluateResult | None = Field(
        description="Null until the status is `succeeded`; without `per_task`."
    )


class AdapterComparison(Model):
    """What `compare_adapters` answers."""

    result: Comparison
    job_id: str | None = Field(description="Of the last measurement that was started, if any.")
    message: str


class JobReport(Model):
    """Where a job stands."""

    job_id: str
    kind: JobKind
    status: JobStatus
    progress: float = Field(ge=0.0, le=1.0)
    message: str
    result: dict[str, Any] | None = Field(
        description="What its kind of job answers: the `result` of the tool that starts such jobs. "
        "Null until the status is `succeeded`."
    )
    error: JobError | None = Field(description="Set when the status is `failed`.")
    attempt: int = Field(description="How often it was started; above 1 after a crash.")
    created_at: str
    started_at: str | None
    finished_at: str | None


def task_run(job: Job) -> TaskRun:
    return TaskRun(
        job_id=job.id, status=job.status, message=_message(job), result=_task_result(job)
    )


def distillation(job: Job) -> Distillation:
    return Distillation(
        job_id=job.id, status=job.status, message=_message(job), result=_distill_result(job)
    )


def evolution(job: Job) -> Evolution:
    result = _evolve_result(job)
    return Evolution(
        job_id=job.id,
        status=job.status,
        message=_message(job) if result is None else result.reason,
        steps=[] if result is None else result.steps,
    )


def planned(plan: EvolutionPlan) -> Evolution:
    found = f"{len(plan.steps)} decisions would be made" if plan.steps else "Nothing would change"
    return Evolution(
        job_id=None, status=None, message=f"{found}; nothing was done.", steps=plan.steps
    )


def evaluation(job: Job) -> Evaluation:
    return Evaluation(
        job_id=job.id, status=job.status, message=_message(job), result=_evaluate_result(job)
    )


def comparison(found: Comparison, job: Job | None) -> AdapterComparison:
    """`job` is the last measurement that was started for it."""
    message = found.verdict if job is None or job.status in FINISHED else _message(job)
    return AdapterComparison(result=found, job_id=job and job.id, message=message)


def job_report(job: Job) -> JobReport:
    result = (
        _task_result(job)
        or _distill_result(job)
        or _evaluate_result(job)
        or _evolve_result(job)
        or _consolidate_result(job)
    )
    return JobReport(
        job_id=job.id,
        kind=job.kind,
        status=job.status,
        progress=job.progress,
        message=job.message,
        result=result and result.model_dump(mode="json"),
        error=JobError.model_validate(job.error) if job.error else None,
        attempt=job.attempt,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def failure(job: Job) -> RuneError:
    """The error that a failed job ended with, as the engine recorded it."""
    if job.error:
        return from_envelope(job.error)
    return TrainingError(
        f"Job {job.id} failed: {job.message}", next_step="`get_job` shows what is known of it."
    )


def _message(job: Job) -> str:
    if job.status == "cancelled":
        return f"Cancelled before it finished. {job.message}".strip()
    if job.status in FINISHED:
        return job.message or "Finished."
    state = f"{job.status}: {job.message}" if job.message else job.status
    return f"Not finished yet ({state}). `get_job` shows how it goes on."


def _task_result(job: Job) -> TaskResult | None:
    if job.kind != "run_task" or job.result is None:
        return None
    result = TaskResult.model_validate(job.result)
    return result.model_copy(
        update={"attempts": [short(a, output=OUTPUT_CHARS) for a in result.attempts]}
    )


def _distill_result(job: Job) -> DistillResult | None:
    if job.kind != "distill" or job.result is None:
        return None
    return DistillResult.model_validate(job.result)


def _evolve_result(job: Job) -> EvolveResult | None:
    if job.kind != "evolve" or job.result is None:
        return None
    return EvolveResult.model_validate(job.result)


def _consolidate_result(job: Job) -> ConsolidateResult | None:
    if job.kind != "consolidate" or job.result is None:
        return None
    return ConsolidateResult.model_validate(job.result)


def _evaluate_result(job: Job) -> EvaluateResult | None:
    """Without the verdicts of every task, which `rune eval --json` shows."""
    if job.kind != "evaluate" or job.result is None:
        return None
    return EvaluateResult.model_validate({**job.result, "per_task": []})
