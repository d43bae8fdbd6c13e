"""The tools that show what Rune holds, what it is doing and what was decided.

Know the engine by its client and the wire models.
"""

from __future__ import annotations

from rune_engine.models import HistoryPage, MemoryStatus, Overview
from rune_mcp import parameters as p
from rune_mcp.engine import EngineTools
from rune_mcp.projects import project_id_of


class LookingTools(EngineTools):
    """One method a tool; its docstring is what the agent reads."""

    async def memory_status(self) -> MemoryStatus:
        """Shows what Rune holds, by project, and what it is doing now."""
        return await self._engine.client.status()

    async def show_memory(self) -> Overview:
        """Shows the memory on one page: jobs, adapters, and whether each adapter helped.

        Of each adapter: how many held-out tasks it solved beside the base model alone, with the
        95 % interval of the difference; null where nothing was measured. Hosts that show MCP Apps
        draw it as a panel.
        """
        return await self._engine.client.overview()

    async def get_history(
        self, project_id: p.ProjectId | None = None, limit: p.Limit = 20
    ) -> HistoryPage:
        """Shows what was decided and done, the newest first, each with the numbers behind it.

        An entry's `event` is the number by which `undo_decision` takes a decision back.
        """
        return await self._engine.client.history(
            project_id=project_id and await project_id_of(project_id), limit=limit
        )
