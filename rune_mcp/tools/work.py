"""The tools that hand work to the local model, and those that follow a job.

Know the engine by its client and the wire models.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context

from rune_engine.models import DistillParams, RunTaskParams
from rune_mcp import parameters as p
from rune_mcp.engine import EngineTools
from rune_mcp.following import WAIT_SECONDS, run_job
from rune_mcp.projects import project_id_of
from rune_mcp.results.jobs import (
    Distillation,
    JobReport,
    TaskRun,
    distillation,
    job_report,
    task_run,
)
from rune_mcp.tools.given import given


class WorkTools(EngineTools):
    """One method a tool; its docstring is what the agent reads."""

    async def run_task(
        self,
        context: Context[None, Any],
        task_description: p.TaskDescription,
        test_suite: p.TestSuite = "",
        project_id: p.ProjectId = "default",
        task_type: p.TaskType = "feature-impl",
        domain: p.Domain = "general",
        adapter: p.AdapterChoice = "auto",
        base_model: p.BaseModelName | None = None,
        max_attempts: p.MaxAttempts = 3,
        max_tokens: p.MaxTokens = 512,
        temperature: p.Temperature = 0.0,
        seed: p.Seed = 0,
        workspace: p.Workspace | None = None,
        session_id: p.SessionId | None = None,
        agent_id: p.AgentId | None = None,
        held_out: p.HeldOut = False,
        wait_seconds: p.WaitSeconds = WAIT_SECONDS,
    ) -> TaskRun:
        """Hands a coding task to the local model, with the best adapter loaded.

        The model writes code, the code runs against the tests in a sandbox without network, and
        what went wrong goes into the next attempt. The trajectory is stored. Returns the code, each
        attempt and whether the tests passed; or, when `wait_seconds` are over first, the job's id
        for `get_job`. Cancelling the call stops the work.
        """
        project_id = await project_id_of(project_id)
        params = RunTaskParams(**given(locals(), RunTaskParams))
        client = self._engine.client
        submit, report = lambda: client.run_task(params), context.report_progress
        return task_run(await run_job(client, submit, report, wait_seconds))

    async def distill(
        self,
        context: Context[None, Any],
        project_id: p.ProjectId,
        domain: p.Domain | None = None,
        task_type: p.TaskType | None = None,
        trajectory_ids: p.TrajectoryIds | None = None,
        base_model: p.BaseModelName | None = None,
        rank: p.Rank | None = None,
        max_steps: p.MaxSteps | None = None,
        learning_rate: p.LearningRate | None = None,
        method: p.Method = "auto",
        seed: p.Seed = 0,
        wait_seconds: p.WaitSeconds = WAIT_SECONDS,
    ) -> Distillation:
        """Trains a new adapter from a project's successful trajectories.

        Takes minutes and this machine's processor. Settings left out follow the base model's
        recommendation. Returns the adapter's id and its training figures; or, when `wait_seconds`
        are over first, the job's id for `get_job`. Cancelling the call stops the training.
        """
        project_id = await project_id_of(project_id)
        params = DistillParams(**given(locals(), DistillParams))
        client = self._engine.client
        submit, report = lambda: client.distill(params), context.report_progress
        return distillation(await run_job(client, submit, report, wait_seconds))

    async def get_job(self, job_id: p.JobId) -> JobReport:
        """Shows where a job stands: status, progress, and its result or error once it ended."""
        return job_report(await self._engine.client.get_job(job_id))

    async def cancel_job(self, job_id: p.JobId) -> JobReport:
        """Stops a queued or running job; a job that already ended stays as it is."""
        return job_report(await self._engine.client.cancel_job(job_id))
