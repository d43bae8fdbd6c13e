"""The tools that decide which adapters stay in use, and take such a decision back.

Know the engine by its client and the wire models.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context

from rune_engine.models import EvolveParams, UndoResult
from rune_mcp import parameters as p
from rune_mcp.engine import EngineTools
from rune_mcp.following import WAIT_SECONDS, await_with_signs, run_job
from rune_mcp.projects import project_id_of
from rune_mcp.results.jobs import Evolution, evolution, planned


class SteeringTools(EngineTools):
    """One method a tool; its docstring is what the agent reads."""

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
            plan = client.plan_evolution(params)
            return planned(await await_with_signs(plan, context.report_progress, "Planning."))
        submit, report = lambda: client.evolve(params), context.report_progress
        return evolution(await run_job(client, submit, report, wait_seconds))

    async def undo_decision(self, event: p.EventNumber) -> UndoResult:
        """Takes back what `evolve_memory`, or the schedule, decided about adapters.

        Adapters that the decision took out of use are in use again, and those that it made go out
        of use. What has changed since stays as it is, and the answer says which and why.
        """
        return await self._engine.client.undo(event)
