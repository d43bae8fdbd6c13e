"""The tools an editor's agent sees: each is one typed operation of the engine.

Knows the engine by its client and the wire models; nothing of MCP's transport.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations

from rune_engine.models import (
    AdapterInfo,
    AdapterPage,
    DistillParams,
    MemoryStatus,
    RecordedTrajectory,
    RetrievedAdapter,
    RunTaskParams,
    TrajectoryDraft,
)
from rune_mcp import parameters as p
from rune_mcp.following import run_job
from rune_mcp.results import Distillation, JobReport, TaskRun, distillation, job_report, task_run

if TYPE_CHECKING:
    from rune_engine.client import EngineClient

WAIT_SECONDS = 50.0
"""Default wait for a job: clients commonly give a request up, and so cancel it, after 60."""


async def _project_id(given: str) -> str:
    """The id of a project that is given by its id, or by the path of a folder in it."""
    if not given.startswith("/"):
        return given
    from rune_engine.projects import identify

    return (await anyio.to_thread.run_sync(identify, given)).id


class Engine:
    """The engine's client, made at the first call that needs it."""

    def __init__(self, client_factory: Callable[[], EngineClient]) -> None:
        self._client_factory = client_factory
        self._client: EngineClient | None = None

    @property
    def client(self) -> EngineClient:
        if self._client is None:
            self._client = self._client_factory()
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class Tools:
    """One method a tool; its docstring is what the agent reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
        project_id = await _project_id(project_id)
        params = RunTaskParams(**_given(locals(), RunTaskParams))
        client = self._engine.client
        submit, report = lambda: client.run_task(params), context.report_progress
        return task_run(await run_job(client, submit, report, wait_seconds))

    async def retrieve_adapter(
        self,
        project_id: p.ProjectId,
        domain: p.Domain = "general",
        task_type: p.TaskType = "feature-impl",
        base_model: p.BaseModelName | None = None,
    ) -> RetrievedAdapter:
        """Shows which adapter the router would load for a project, domain and task type, and why.

        The adapter is null when none fits; the base model then works alone.
        """
        return await self._engine.client.retrieve(
            await _project_id(project_id), domain=domain, task_type=task_type, base_model=base_model
        )

    async def record_trajectory(
        self,
        project_id: p.ProjectId,
        task_description: p.TaskDescription,
        attempts: p.Attempts,
        outcome: p.TrajectoryOutcome,
        test_suite: p.TestSuite = "",
        task_type: p.TaskType = "feature-impl",
        domain: p.Domain = "general",
        session_id: p.SessionId | None = None,
        agent_id: p.AgentId | None = None,
        held_out: p.HeldOut = False,
        adapter_id: p.UsedAdapter | None = None,
    ) -> RecordedTrajectory:
        """Stores how a coding task went: the task, each attempt and how it ended.

        Successful trajectories are what `distill` makes adapters of; one whose outcome is
        `unknown` is kept and teaches nothing. Storing the same trajectory
        again changes nothing and returns the id it already has. Secrets in it (keys, tokens,
        passwords) are replaced by `[secret:KIND]` before it is stored; `redacted` counts them.
        """
        project_id = await _project_id(project_id)
        draft = TrajectoryDraft(**_given(locals(), TrajectoryDraft))
        return await self._engine.client.record(draft)

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
            project_id=project_id and await _project_id(project_id),
            domain=domain,
            task_type=task_type,
            include_archived=include_archived,
            offset=offset,
            limit=limit,
        )

    async def get_adapter(self, adapter_id: p.AdapterId) -> AdapterInfo:
        """Shows everything that is known of one adapter, its scores and its parents included."""
        return await self._engine.client.get_adapter(adapter_id)

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
        project_id = await _project_id(project_id)
        params = DistillParams(**_given(locals(), DistillParams))
        client = self._engine.client
        submit, report = lambda: client.distill(params), context.report_progress
        return distillation(await run_job(client, submit, report, wait_seconds))

    async def get_job(self, job_id: p.JobId) -> JobReport:
        """Shows where a job stands: status, progress, and its result or error once it ended."""
        return job_report(await self._engine.client.get_job(job_id))

    async def cancel_job(self, job_id: p.JobId) -> JobReport:
        """Stops a queued or running job; a job that already ended stays as it is."""
        return job_report(await self._engine.client.cancel_job(job_id))

    async def memory_status(self) -> MemoryStatus:
        """Shows what Rune holds, by project, and what it is doing now."""
        return await self._engine.client.status()


def _hints(*, reads: bool = False, destroys: bool = False, idempotent: bool) -> ToolAnnotations:
    """No tool reaches beyond this machine."""
    return ToolAnnotations(
        read_only_hint=reads,
        destructive_hint=destroys,
        idempotent_hint=idempotent,
        open_world_hint=False,
    )


_READS = _hints(reads=True, idempotent=True)
_ADDS = _hints(idempotent=False)
_ADDS_ONCE = _hints(idempotent=True)
_STOPS = _hints(destroys=True, idempotent=True)

TOOLS = {
    "run_task": ("Run a task on the local model", _ADDS),
    "retrieve_adapter": ("Find the best adapter", _READS),
    "record_trajectory": ("Record a coding trajectory", _ADDS_ONCE),
    "list_adapters": ("List adapters", _READS),
    "get_adapter": ("Show an adapter", _READS),
    "distill": ("Distill trajectories into an adapter", _ADDS),
    "get_job": ("Show a job", _READS),
    "cancel_job": ("Cancel a job", _STOPS),
    "memory_status": ("Show the memory's status", _READS),
}
"""Name, title and hints of every tool, in the order in which they are listed."""


def add_tools(server: MCPServer[None], engine: Engine) -> None:
    """Put every tool on `server`."""
    tools = Tools(engine)
    for name, (title, hints) in TOOLS.items():
        method = getattr(tools, name)
        server.add_tool(
            method,
            title=title,
            description=inspect.getdoc(method),
            annotations=hints,
            structured_output=True,
        )


def _given(
    arguments: dict[str, Any],
    model: type[RunTaskParams] | type[DistillParams] | type[TrajectoryDraft],
) -> dict[str, Any]:
    """Those of a tool's arguments that are fields of `model`."""
    return {name: value for name, value in arguments.items() if name in model.model_fields}
