"""The REST routes, each a thin door to one operation of the engine."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from rune_engine.models import (
    AdapterInfo,
    AdapterPage,
    CompareParams,
    Comparison,
    ConsolidateParams,
    ConsolidationStatus,
    DistillParams,
    EngineHealth,
    EvaluateParams,
    EvaluationPage,
    EvolutionPlan,
    EvolveParams,
    ForgetParams,
    ForgetReport,
    HistoryPage,
    Identifier,
    ImportParams,
    Job,
    JobPage,
    MemoryStatus,
    Name,
    OpenAIStatus,
    ProjectState,
    RecordedTrajectory,
    RecordingParams,
    RetrievedAdapter,
    RetrieveParams,
    RunTaskParams,
    SteeringParams,
    TrajectoryDraft,
    UndoParams,
    UndoResult,
)
from rune_engine.models.mining import MineParams
from rune_engine.service import forget as forgetting
from rune_engine.service.engine import Engine
from rune_engine.service.history import newest_entries

router = APIRouter()


def _engine(request: Request) -> Engine:
    engine = request.app.state.engine
    assert isinstance(engine, Engine)
    return engine


TheEngine = Annotated[Engine, Depends(_engine)]
Offset = Annotated[int, Query(ge=0, le=2**62)]
Limit = Annotated[int, Query(ge=1, le=200)]
PollSeconds = Annotated[float, Query(ge=0, le=30)]


# Routes that touch the database are plain functions: FastAPI runs them on threads.


@router.post("/trajectories")
def record(engine: TheEngine, draft: TrajectoryDraft) -> RecordedTrajectory:
    engine.recording_rate.require("trajectories recorded")
    return engine.record(draft)


@router.post("/adapters/retrieve")
def retrieve(engine: TheEngine, params: RetrieveParams) -> RetrievedAdapter:
    return engine.retrieve(params)


@router.get("/adapters")
def list_adapters(
    engine: TheEngine,
    offset: Offset = 0,
    limit: Limit = 50,
    project_id: Name | None = None,
    domain: Name | None = None,
    task_type: Name | None = None,
    include_archived: bool = False,
) -> AdapterPage:
    return engine.registry.page(
        offset=offset,
        limit=limit,
        project_id=project_id,
        domain=domain,
        task_type=task_type,
        include_archived=include_archived,
    )


@router.post("/adapters/compare")
def compare_adapters(engine: TheEngine, params: CompareParams) -> Comparison:
    return engine.compare(params)


@router.get("/adapters/{adapter_id}")
def get_adapter(engine: TheEngine, adapter_id: Identifier) -> AdapterInfo:
    return engine.registry.retrieve_by_id(adapter_id)


@router.post("/adapters/{adapter_id}/archive")
def archive_adapter(
    engine: TheEngine, adapter_id: Identifier, params: SteeringParams
) -> AdapterInfo:
    return engine.registry.archive(adapter_id, reason=params.reason)


@router.post("/adapters/{adapter_id}/restore")
def restore_adapter(
    engine: TheEngine, adapter_id: Identifier, params: SteeringParams
) -> AdapterInfo:
    return engine.registry.restore(adapter_id, reason=params.reason)


@router.post("/evolve/plan")
async def plan_evolution(engine: TheEngine, params: EvolveParams) -> EvolutionPlan:
    return await engine.plan_evolution(params)


@router.post("/evolve/undo")
def undo(engine: TheEngine, params: UndoParams) -> UndoResult:
    return engine.undo(params.event)


@router.post("/jobs/evolve", status_code=202)
async def evolve(engine: TheEngine, params: EvolveParams) -> Job:
    return await engine.submit_evolve(params)


@router.post("/jobs/consolidate", status_code=202)
async def consolidate(engine: TheEngine, params: ConsolidateParams) -> Job:
    return await engine.submit_consolidate(params)


@router.get("/adapters/{adapter_id}/evaluations")
def evaluations(engine: TheEngine, adapter_id: Identifier, limit: Limit = 20) -> EvaluationPage:
    return EvaluationPage(evaluations=engine.evaluations.page(adapter_id, limit=limit))


@router.post("/jobs/run_task", status_code=202)
async def run_task(engine: TheEngine, params: RunTaskParams) -> Job:
    return await engine.submit_run_task(params)


@router.post("/jobs/distill", status_code=202)
async def distill(engine: TheEngine, params: DistillParams) -> Job:
    return await engine.submit_distill(params)


@router.post("/jobs/evaluate", status_code=202)
async def evaluate(engine: TheEngine, params: EvaluateParams) -> Job:
    return await engine.submit_evaluate(params)


@router.post("/jobs/import", status_code=202)
async def import_file(engine: TheEngine, params: ImportParams) -> Job:
    return await engine.submit_import(params)


@router.post("/jobs/mine", status_code=202)
async def mine(engine: TheEngine, params: MineParams) -> Job:
    return await engine.submit_mine(params)


@router.get("/jobs")
def list_jobs(engine: TheEngine, limit: Limit = 50) -> JobPage:
    return JobPage(jobs=engine.jobs.newest(limit))


@router.get("/jobs/{job_id}")
async def get_job(
    engine: TheEngine,
    job_id: Identifier,
    after_revision: Annotated[int, Field(ge=0)] = 0,
    timeout: PollSeconds = 0,
) -> Job:
    return await engine.wait_for_job(job_id, after_revision, timeout)


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(engine: TheEngine, job_id: Identifier) -> Job:
    return await engine.runner.cancel(job_id)


@router.post("/jobs/{job_id}/retry", status_code=202)
async def retry_job(engine: TheEngine, job_id: Identifier) -> Job:
    return await engine.retry(job_id)


@router.post("/forget/look")
def look_at_forgetting(engine: TheEngine, params: ForgetParams) -> ForgetReport:
    return engine.forgetting.look(params)


@router.post("/forget")
async def forget(engine: TheEngine, params: ForgetParams) -> ForgetReport:
    return await forgetting.forget(engine, params)


@router.get("/consolidation")
def consolidation(engine: TheEngine) -> ConsolidationStatus:
    return engine.consolidator.status(stays=engine.stays)


@router.get("/history")
def history(engine: TheEngine, project_id: Name | None = None, limit: Limit = 50) -> HistoryPage:
    return HistoryPage(entries=newest_entries(engine.events, engine.jobs, project_id, limit))


# A project's id has slashes in it, so it is no part of the path.


@router.get("/project")
def project(engine: TheEngine, project_id: Name) -> ProjectState:
    return engine.project(project_id)


@router.post("/project/recording")
def set_recording(engine: TheEngine, params: RecordingParams) -> ProjectState:
    return engine.set_recording(params)


@router.get("/openai")
async def openai(engine: TheEngine) -> OpenAIStatus:
    return engine.openai


@router.get("/status")
async def status(engine: TheEngine) -> MemoryStatus:
    return await engine.status()


@router.get("/health")
async def health(engine: TheEngine) -> EngineHealth:
    return engine.health()


@router.post("/stop", status_code=202)
async def stop(engine: TheEngine) -> EngineHealth:
    engine.request_stop()
    return engine.health()
