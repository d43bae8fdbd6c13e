"""The `run_task` job: the local model solves a task, with the adapter that suits it.

Chooses the adapter and hands over to the agent loop; knows nothing of rows or HTTP.
"""

from __future__ import annotations

import asyncio

from rune_engine.inference.factory import ProviderPool
from rune_engine.inference.provider import AdapterRef
from rune_engine.jobs.progress import Report
from rune_engine.models import Job, RunTaskParams, TaskResult
from rune_engine.registry import AdapterRegistry
from rune_engine.routing.router import Router
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore


class RunTask:
    """Runs `run_task` jobs; any number at once."""

    def __init__(
        self,
        providers: ProviderPool,
        registry: AdapterRegistry,
        trajectories: TrajectoryStore,
        sandbox: Sandbox,
    ) -> None:
        self._providers = providers
        self._registry = registry
        self._trajectories = trajectories
        self._sandbox = sandbox

    async def __call__(self, job: Job, report: Report) -> TaskResult:
        # Imported at the first task: the graph library would triple the engine's start.
        from rune_engine.agent.graph import run_task

        params = RunTaskParams.model_validate(job.params)
        provider = self._providers.get(params.base_model)
        adapter, reason = await asyncio.to_thread(self._choose, params, provider.base_model_id)
        return await run_task(
            params,
            provider=provider,
            sandbox=self._sandbox,
            trajectories=self._trajectories,
            adapter=adapter,
            adapter_reason=reason,
            on_progress=report,
        )

    def _choose(self, params: RunTaskParams, base_model_id: str) -> tuple[AdapterRef | None, str]:
        if params.adapter == "none":
            return None, "The caller asked for the base model alone."
        if params.adapter != "auto":
            return self._registry.verified_ref(params.adapter), "The caller named it."
        found = Router(self._registry).retrieve(
            params.project_id, params.domain, params.task_type, base_model_id
        )
        if found.adapter is None:
            return None, found.reason
        return self._registry.verified_ref(found.adapter.id), found.reason
