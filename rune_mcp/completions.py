"""What could be meant by the beginning of an id: of prompts' arguments and resources' parameters.

The newest of each kind are looked through. Loaded at the first request. Knows the engine by its
client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    Completion,
    CompletionArgument,
    PromptReference,
    ResourceTemplateReference,
)

from rune_engine.errors import RuneError
from rune_engine.harmless import harmless
from rune_mcp import prompts
from rune_mcp.engine import Engine
from rune_mcp.resources import SCHEME

if TYPE_CHECKING:
    from rune_engine.client import EngineClient

Reference = PromptReference | ResourceTemplateReference

MOST = 100
"""Values in one answer, as the protocol has it."""
_LOOKED_AT = 200


async def complete(engine: Engine, ref: Reference, argument: CompletionArgument) -> Completion:
    """Values of the argument that begin with what is there, then those that contain it.

    None for an argument that is not one of ours, or has no list of values.

    Raises:
        MCPError: the engine could not be asked.
    """
    known = _KNOWN.get(argument.name) if _is_ours(ref) else None
    if known is None:
        return Completion(values=[])
    try:
        values = await known(engine.client)
    except RuneError as error:
        raise MCPError(INTERNAL_ERROR, harmless(str(error))) from error
    begun = argument.value.casefold()
    first = [value for value in values if value.casefold().startswith(begun)]
    rest = [v for v in values if begun in v.casefold() and not v.casefold().startswith(begun)]
    found = [*first, *rest]
    return Completion(values=found[:MOST], total=len(found), has_more=len(found) > MOST)


def _is_ours(ref: Reference) -> bool:
    return prompts.has(ref.name) if isinstance(ref, PromptReference) else ref.uri.startswith(SCHEME)


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
