"""The tools that decide which adapters stay in use, or say so by hand.

Knows the engine by its client and the wire models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context

from rune_engine.models import AdapterInfo, EvolveParams
from rune_mcp import parameters as p
from rune_mcp.following import WAIT_SECONDS, run_job
from rune_mcp.projects import project_id_of
from rune_mcp.results import Evolution, evolution, planned

if TYPE_CHECKING:
    from rune_mcp.tools import Engine


class SteeringTools:
    """One method a tool; its docstring is what the agent reads."""

    _engine: Engine

    async def evolve_memory(
        self,
        context: Context[None, Any],
        project_id: p.ProjectId,
        dry_run: p.DryRun = False,
        wait_seconds: p.WaitSeconds = WAIT_SECONDS,
    ) -> Evolution:
        """Decides which of a project's adapters stay in use, by what was measured of them.

        Adapters that are no better than the base model or beaten by another are archived, proven
        ones are tried on wider tasks, similar ones are tried as one. Each decision comes with its
        numbers, stays in the history and can be taken back; weights are not deleted. Returns the
        decisions; or, when `wait_seconds` are over first, the job's id for `get_job`.
        """
        params = EvolveParams(project_id=await project_id_of(project_id))
        client = self._engine.client
        if dry_run:
            return planned(await client.plan_evolution(params))
        submit, report = lambda: client.evolve(params), context.report_progress
        return evolution(await run_job(client, submit, report, wait_seconds))

    async def archive_adapter(self, adapter_id: p.AdapterId, reason: p.Reason = "") -> AdapterInfo:
        """Takes an adapter out of use; its weights stay, and `restore_adapter` brings it back."""
        return await self._engine.client.archive_adapter(adapter_id, reason=reason)

    async def restore_adapter(self, adapter_id: p.AdapterId, reason: p.Reason = "") -> AdapterInfo:
        """Puts an archived adapter in use again.

        From then on it is judged only by what is measured after. One that learnt from something
        that was forgotten stays out.
        """
        return await self._engine.client.restore_adapter(adapter_id, reason=reason)
