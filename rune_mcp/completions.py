"""What could be meant by the beginning of an id: of prompts' arguments and resources' parameters.

The newest of each kind are looked through. Loaded at the first request. Knows the engine by its
client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, Completion

from rune_engine.errors import RuneError

if TYPE_CHECKING:
    from rune_engine.client import EngineClient

MOST = 100
"""Values in one answer, as the protocol has it."""
_LOOKED_AT = 200


async def complete(client: EngineClient, name: str, begun: str) -> Completion:
    """Values of the argument `name` that begin with `begun`, then those that contain it.

    Raises:
        MCPError: the engine could not be asked.
    """
    known = _KNOWN.get(name)
    if known is None:
        return Completion(values=[])
    try:
        values = await known(client)
    except RuneError as error:
        raise MCPError(INTERNAL_ERROR, str(error)) from error
    wanted = begun.casefold()
    first = [value for value in values if value.casefold().startswith(wanted)]
    rest = [v for v in values if wanted in v.casefold() and not v.casefold().startswith(wanted)]
    found = [*first, *rest]
    return Completion(values=found[:MOST], total=len(found), has_more=len(found) > MOST)


async def _projects(client: EngineClient) -> list[str]:
    return [project.project_id for project in (await client.status()).projects]


async def _adapters(client: EngineClient) -> list[str]:
    return [adapter.id for adapter in (await client.list_adapters(limit=_LOOKED_AT)).adapters]


async def _trajectories(client: EngineClient) -> list[str]:
    page = await client.list_trajectories(limit=MOST)
    return [trajectory.id for trajectory in page.trajectories]


async def _jobs(client: EngineClient) -> list[str]:
    return [job.id for job in (await client.overview()).jobs]


_KNOWN = {
    "project_id": _projects,
    "adapter_id": _adapters,
    "trajectory_id": _trajectories,
    "job_id": _jobs,
}
