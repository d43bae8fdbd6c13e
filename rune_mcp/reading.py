"""Reads `rune://` resources: one question or a few to the engine, answered as JSON.

Loaded at the first read. Recorded texts come marked as data. Knows the engine by its client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from rune_engine.errors import NotFoundError, RuneError
from rune_engine.models import AdapterPage, HistoryPage, Model
from rune_mcp.engine import Engine
from rune_mcp.resources import Address
from rune_mcp.results.jobs import JobReport, job_report
from rune_mcp.results.memory import (
    RECORDED,
    AdapterView,
    JobList,
    ProjectList,
    ProjectView,
    TrajectoriesView,
    TrajectoryView,
    trajectory_view,
)

if TYPE_CHECKING:
    from rune_engine.client import EngineClient

PAGE = 50
FEW = 10


async def read(engine: Engine, address: Address) -> str:
    """The JSON of what `address` names.

    Raises:
        ResourceNotFoundError: there is no such thing.
        ResourceError: it could not be had; the message says what to do next.
    """
    try:
        if address.id is None:
            found: Model = await _ALL[address.kind](engine.client)
        else:
            found = await _ONE[address.kind](engine.client, address.id)
    except NotFoundError as error:
        raise ResourceNotFoundError(str(error)) from error
    except RuneError as error:
        raise ResourceError(str(error)) from error
    return found.model_dump_json()


async def _adapters(client: EngineClient) -> AdapterPage:
    return await client.list_adapters(limit=PAGE)


async def _trajectories(client: EngineClient) -> TrajectoriesView:
    page = await client.list_trajectories(limit=PAGE)
    return TrajectoriesView(notice=RECORDED, **vars(page))


async def _projects(client: EngineClient) -> ProjectList:
    status = await client.status()
    return ProjectList(projects=status.projects, total=status.total_projects)


async def _jobs(client: EngineClient) -> JobList:
    return JobList(jobs=(await client.overview()).jobs)


async def _history(client: EngineClient) -> HistoryPage:
    return await client.history(limit=PAGE)


async def _adapter(client: EngineClient, adapter_id: str) -> AdapterView:
    adapter = await client.get_adapter(adapter_id)
    found = await client.evaluations(adapter_id, limit=FEW)
    short = [each.model_copy(update={"per_task": []}) for each in found]
    return AdapterView(adapter=adapter, evaluations=short)


async def _trajectory(client: EngineClient, trajectory_id: str) -> TrajectoryView:
    return trajectory_view(await client.get_trajectory(trajectory_id))


async def _project(client: EngineClient, project_id: str) -> ProjectView:
    project = await client.project(project_id)
    if not (project.trajectories or project.adapters):
        raise ResourceNotFoundError(f"Nothing is held of project {project_id}.")
    adapters = await client.list_adapters(project_id=project_id, limit=FEW)
    trajectories = await client.list_trajectories(project_id=project_id, limit=FEW)
    return ProjectView(
        notice=RECORDED,
        project=project,
        adapters=adapters.adapters,
        trajectories=trajectories.trajectories,
    )


async def _job(client: EngineClient, job_id: str) -> JobReport:
    return job_report(await client.get_job(job_id))


_ALL = {
    "adapters": _adapters,
    "trajectories": _trajectories,
    "projects": _projects,
    "jobs": _jobs,
    "history": _history,
}
_ONE = {
    "adapters": _adapter,
    "trajectories": _trajectory,
    "projects": _project,
    "jobs": _job,
}
