"""The tools that find, show and set aside adapters.

Know the engine by its client and the wire models.
"""

from __future__ import annotations

from rune_engine.models import AdapterInfo, AdapterPage, RetrievedAdapter
from rune_mcp import parameters as p
from rune_mcp.engine import EngineTools
from rune_mcp.projects import project_id_of


class AdapterTools(EngineTools):
    """One method a tool; its docstring is what the agent reads."""

    async def retrieve_adapter(
        self,
        project_id: p.ProjectId | None = None,
        task_description: p.TaskDescription | None = None,
        domain: p.Domain = "general",
        task_type: p.TaskType = "feature-impl",
        base_model: p.BaseModelName | None = None,
    ) -> RetrievedAdapter:
        """Shows which adapter the router would load for a task, what else it weighed, and why.

        A project's own adapters are weighed, those for its domain and task type first. Without a
        project the task's text decides, and only where it says clearly whose task it is. The
        adapter is null when none suffices; the base model then works alone.
        """
        return await self._engine.client.retrieve(
            project_id and await project_id_of(project_id),
            domain=domain,
            task_type=task_type,
            base_model=base_model,
            task_description=task_description,
        )

    async def list_adapters(
        self,
        project_id: p.ProjectId | None = None,
        domain: p.Domain | None = None,
        task_type: p.TaskType | None = None,
        include_archived: p.IncludeArchived = False,
        offset: p.Offset = 0,
        limit: p.Limit = 20,
    ) -> AdapterPage:
        """Lists the stored adapters, one page at a time, with the total number.

        `next_offset` is the `offset` of the following page, null on the last one.
        """
        return await self._engine.client.list_adapters(
            project_id=project_id and await project_id_of(project_id),
            domain=domain,
            task_type=task_type,
            include_archived=include_archived,
            offset=offset,
            limit=limit,
        )

    async def get_adapter(self, adapter_id: p.AdapterId) -> AdapterInfo:
        """Shows everything that is known of one adapter, its scores and its parents included."""
        return await self._engine.client.get_adapter(adapter_id)

    async def archive_adapter(self, adapter_id: p.AdapterId, reason: p.Reason = "") -> AdapterInfo:
        """Takes an adapter out of use; its weights stay, and `restore_adapter` brings it back."""
        return await self._engine.client.archive_adapter(adapter_id, reason=reason)

    async def restore_adapter(self, adapter_id: p.AdapterId, reason: p.Reason = "") -> AdapterInfo:
        """Puts an archived adapter in use again.

        From then on it is judged only by what is measured after. One that learnt from something
        that was forgotten stays out.
        """
        return await self._engine.client.restore_adapter(adapter_id, reason=reason)
