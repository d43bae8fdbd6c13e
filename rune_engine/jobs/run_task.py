"""The `run_task` job: the local model solves a task, with the adapter that suits it.

Chooses the adapter and hands over to the agent loop. The trajectory's id is the job's own, so a
job that was interrupted after its task had been recorded answers what was recorded. Knows nothing
of rows or HTTP.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress

from rune_engine.errors import TrajectoryNotFoundError
from rune_engine.inference.factory import ProviderPool
from rune_engine.inference.provider import AdapterRef
from rune_engine.jobs.progress import Report
from rune_engine.models import Job, RunTaskParams, TaskResult, Trajectory
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
        router: Router,
        trajectories: TrajectoryStore,
        sandbox: Sandbox,
    ) -> None:
        self._providers = providers
        self._registry = registry
        self._router = router
        self._trajectories = trajectories
        self._sandbox = sandbox

    async def __call__(self, job: Job, report: Report) -> TaskResult:
        # Imported at the first task: the graph library would triple the engine's start.
        from rune_engine.agent.graph import run_task

        params = RunTaskParams.model_validate(job.params)
        provider = self._providers.get(params.base_model)
        trajectory_id = _trajectory_id(job.id)
        with suppress(TrajectoryNotFoundError):
            known = await asyncio.to_thread(self._trajectories.get, trajectory_id)
            return _recorded(known, provider.base_model_id)
        adapter, reason = await asyncio.to_thread(self._choose, params, provider.base_model_id)
        return await run_task(
            params,
            provider=provider,
            sandbox=self._sandbox,
            trajectories=self._trajectories,
            adapter=adapter,
            adapter_reason=reason,
            on_progress=report,
            trajectory_id=trajectory_id,
        )

    def _choose(self, params: RunTaskParams, base_model_id: str) -> tuple[AdapterRef | None, str]:
        if params.adapter == "none":
            return None, "The caller asked for the base model alone."
        if params.adapter != "auto":
            return self._registry.verified_ref(params.adapter), "The caller named it."
        found = self._router.retrieve(
            params.project_id,
            params.domain,
            params.task_type,
            base_model_id,
            params.task_description,
        )
        if found.adapter is None:
            return None, found.reason
        return self._registry.verified_ref(found.adapter.id), found.reason


def _trajectory_id(job_id: str) -> str:
    """The one id that the trajectory of this job's task can have, however often it is started."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"rune:run_task:{job_id}"))


def _recorded(trajectory: Trajectory, base_model_id: str) -> TaskResult:
    """The result of a task that was recorded before its job was interrupted."""
    return TaskResult(
        outcome=trajectory.outcome,
        tests_passed=trajectory.outcome == "success",
        code=trajectory.attempts[-1].generated_code,
        attempts=trajectory.attempts,
        adapter_id=trajectory.adapter_id,
        adapter_reason="It was chosen before the engine was interrupted.",
        base_model_id=base_model_id,
        trajectory_id=trajectory.id,
        prompt_tokens=0,
        completion_tokens=0,
    )
