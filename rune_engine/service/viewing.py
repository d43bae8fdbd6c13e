"""The REST routes for who looks at the memory: trajectories, an overview, what has changed."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from rune_engine.evaluation.records import EvaluationStore
from rune_engine.models import (
    AdapterInfo,
    AdapterStanding,
    Changes,
    ChangesParams,
    Identifier,
    JobLine,
    MemoryStatus,
    Name,
    Overview,
    StoredTrajectory,
    TrajectoryListing,
)
from rune_engine.service.engine import Engine
from rune_engine.service.routes import Limit, Offset, TheEngine

router = APIRouter()

CHANGES = "/changes"
"""Asked again and again by who follows the memory; it keeps no engine from ending."""
_SHOWN = 20


@router.get("/trajectories")
def list_trajectories(
    engine: TheEngine,
    offset: Offset = 0,
    limit: Limit = 20,
    project_id: Name | None = None,
    session_id: Identifier | None = None,
) -> TrajectoryListing:
    return engine.trajectories.listing(
        project_id=project_id, session_id=session_id, offset=offset, limit=limit
    )


@router.get("/trajectories/{trajectory_id}")
def get_trajectory(engine: TheEngine, trajectory_id: Identifier) -> StoredTrajectory:
    trajectory = engine.trajectories.get(trajectory_id)
    captured, state = engine.captures.origin(trajectory_id)
    return StoredTrajectory(trajectory=trajectory, captured=captured, source_state=state)


@router.get("/overview")
async def overview(engine: TheEngine) -> Overview:
    return await asyncio.to_thread(_overview, engine, await engine.status())


@router.post(CHANGES)
def changes(engine: TheEngine, params: ChangesParams) -> Changes:
    return engine.changes.since(params.cursor)


def _overview(engine: Engine, status: MemoryStatus) -> Overview:
    page = engine.registry.page(offset=0, limit=_SHOWN)
    return Overview(
        status=status,
        adapters=[_standing(each, engine.evaluations) for each in page.adapters],
        total_adapters=page.total,
        jobs=[JobLine.model_validate(_line(vars(job))) for job in engine.jobs.newest(_SHOWN)],
    )


def _line(job: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in job.items() if name in JobLine.model_fields}


def _standing(adapter: AdapterInfo, evaluations: EvaluationStore) -> AdapterStanding:
    standing = AdapterStanding(
        adapter_id=adapter.id,
        project_id=adapter.project_id,
        level=adapter.hierarchy_level,
        domain=adapter.domain,
        task_type=adapter.task_type,
        created_at=adapter.created_at,
        fitness=adapter.fitness_score,
    )
    found = evaluations.latest(adapter.id)
    if found is None:
        return standing
    measured = {
        "pass_rate": found.pass_rate,
        "base_pass_rate": found.base_pass_rate,
        "difference": found.difference,
        "tasks": found.tasks,
        "undecided": found.undecided,
        "measured_at": found.created_at,
    }
    return standing.model_copy(update=measured)
