"""The engine's client: what the MCP server and the `rune` command use.

One method for each thing that the engine can be asked; `rune_engine.connection` carries it there.
Importing this module is light. Knows nothing of how the engine does its work.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rune_engine.config import RuneConfig
from rune_engine.connection import EngineConnection
from rune_engine.models import (
    AdapterInfo,
    AdapterPage,
    CaptureParams,
    CaptureReport,
    CaptureStatus,
    ChangeCursor,
    Changes,
    ChangesParams,
    CompareParams,
    Comparison,
    ConsolidateParams,
    ConsolidationStatus,
    DistillParams,
    EngineHealth,
    EvaluateParams,
    EvaluateResult,
    EvaluationPage,
    EvolutionPlan,
    EvolveParams,
    ForgetParams,
    ForgetReport,
    HistoryPage,
    ImportParams,
    Job,
    JobPage,
    MemoryStatus,
    OpenAIStatus,
    Overview,
    ProjectState,
    Provenance,
    RecordedTrajectory,
    RecordingParams,
    RetrievedAdapter,
    RetrieveParams,
    RunTaskParams,
    SourceParams,
    SteeringParams,
    StoredTrajectory,
    TrajectoryDraft,
    TrajectoryListing,
    UndoParams,
    UndoResult,
)
from rune_engine.models.mining import MineParams

_LONG_POLL_SECONDS = 30.0


class EngineClient:
    """Talks to the one engine of `config.home`.

    Every method raises the engine's own error (`RuneError` and below), and
    `EngineUnavailableError` when the engine cannot be reached or died over the call.
    """

    def __init__(self, config: RuneConfig) -> None:
        self._connection = EngineConnection(config)
        self._ask = self._connection.ask

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; the engine goes on."""
        await self._connection.aclose()

    # --- trajectories and adapters --------------------------------------------------------------

    async def record(self, draft: TrajectoryDraft) -> RecordedTrajectory:
        # Recording twice is recognised by content, so a broken call may be repeated.
        return await self._ask(
            RecordedTrajectory, "POST", "/trajectories", body=draft, repeatable=True
        )

    async def list_trajectories(
        self,
        *,
        offset: int = 0,
        limit: int = 20,
        project_id: str | None = None,
        session_id: str | None = None,
    ) -> TrajectoryListing:
        """What trajectories were about, the newest first."""
        query = {
            "offset": offset,
            "limit": limit,
            "project_id": project_id,
            "session_id": session_id,
        }
        return await self._ask(TrajectoryListing, "GET", "/trajectories", query=query)

    async def get_trajectory(self, trajectory_id: str) -> StoredTrajectory:
        """A trajectory with its attempts, and where it came from."""
        path = f"/trajectories/{_part(trajectory_id)}"
        return await self._ask(StoredTrajectory, "GET", path)

    async def retrieve(
        self,
        project_id: str | None = None,
        *,
        domain: str = "general",
        task_type: str = "feature-impl",
        base_model: str | None = None,
        task_description: str | None = None,
    ) -> RetrievedAdapter:
        """Which adapter the router would load, for a project, for a task's text, or for both."""
        params = RetrieveParams(
            project_id=project_id,
            domain=domain,
            task_type=task_type,
            base_model=base_model,
            task_description=task_description,
        )
        return await self._ask(
            RetrievedAdapter, "POST", "/adapters/retrieve", body=params, repeatable=True
        )

    async def list_adapters(
        self,
        *,
        offset: int = 0,
        limit: int = 50,
        project_id: str | None = None,
        domain: str | None = None,
        task_type: str | None = None,
        include_archived: bool = False,
    ) -> AdapterPage:
        query = {
            "offset": offset,
            "limit": limit,
            "project_id": project_id,
            "domain": domain,
            "task_type": task_type,
            "include_archived": include_archived,
        }
        return await self._ask(AdapterPage, "GET", "/adapters", query=query)

    async def get_adapter(self, adapter_id: str) -> AdapterInfo:
        return await self._ask(AdapterInfo, "GET", f"/adapters/{_part(adapter_id)}")

    # --- evolution ------------------------------------------------------------------------------

    async def archive_adapter(self, adapter_id: str, *, reason: str = "") -> AdapterInfo:
        """Take an adapter out of use; its weights stay."""
        return await self._steer(adapter_id, "archive", reason)

    async def restore_adapter(self, adapter_id: str, *, reason: str = "") -> AdapterInfo:
        """Put an archived adapter in use again."""
        return await self._steer(adapter_id, "restore", reason)

    async def _steer(self, adapter_id: str, what: str, reason: str) -> AdapterInfo:
        path, body = f"/adapters/{_part(adapter_id)}/{what}", SteeringParams(reason=reason)
        return await self._ask(AdapterInfo, "POST", path, body=body, repeatable=True)

    async def plan_evolution(self, params: EvolveParams) -> EvolutionPlan:
        """What `evolve` would decide of a project now; changes nothing."""
        return await self._ask(EvolutionPlan, "POST", "/evolve/plan", body=params, repeatable=True)

    async def evolve(self, params: EvolveParams) -> Job:
        """Queue a look at a project's adapters; `wait_job` tells when it is done."""
        return await self._ask(Job, "POST", "/jobs/evolve", body=params)

    async def consolidate(self, params: ConsolidateParams) -> Job:
        """Queue the making of one adapter of several; `wait_job` tells when it is done."""
        return await self._ask(Job, "POST", "/jobs/consolidate", body=params)

    async def undo(self, event: int) -> UndoResult:
        """Take a decision back, by the number of its event."""
        return await self._ask(
            UndoResult, "POST", "/evolve/undo", body=UndoParams(event=event), repeatable=True
        )

    async def compare_adapters(self, params: CompareParams) -> Comparison:
        """Two adapters on the tasks that both were measured on."""
        return await self._ask(
            Comparison, "POST", "/adapters/compare", body=params, repeatable=True
        )

    async def evaluations(self, adapter_id: str, *, limit: int = 20) -> list[EvaluateResult]:
        """What was measured of an adapter, the newest first."""
        path = f"/adapters/{_part(adapter_id)}/evaluations"
        page = await self._ask(EvaluationPage, "GET", path, query={"limit": limit})
        return page.evaluations

    # --- projects -------------------------------------------------------------------------------

    async def project(self, project_id: str) -> ProjectState:
        """What is held of a project, and whether it may be recorded."""
        return await self._ask(ProjectState, "GET", "/project", query={"project_id": project_id})

    async def set_recording(self, project_id: str, *, recorded: bool) -> ProjectState:
        """Turn recording of a project, and learning from it, on or off."""
        params = RecordingParams(project_id=project_id, recorded=recorded)
        return await self._ask(
            ProjectState, "POST", "/project/recording", body=params, repeatable=True
        )

    # --- jobs -----------------------------------------------------------------------------------

    async def run_task(self, params: RunTaskParams) -> Job:
        """Queue a task for the local model; `wait_job` tells when it is done."""
        return await self._ask(Job, "POST", "/jobs/run_task", body=params)

    async def distill(self, params: DistillParams) -> Job:
        """Queue a distillation; `wait_job` tells when it is done."""
        return await self._ask(Job, "POST", "/jobs/distill", body=params)

    async def evaluate(self, params: EvaluateParams) -> Job:
        """Queue an adapter's evaluation; `wait_job` tells when it is done."""
        return await self._ask(Job, "POST", "/jobs/evaluate", body=params)

    async def import_file(self, params: ImportParams) -> Job:
        """Queue the import of a file of trajectories; `wait_job` tells when it is done."""
        return await self._ask(Job, "POST", "/jobs/import", body=params)

    async def mine(self, params: MineParams) -> Job:
        """Queue the mining of a repository's history; `wait_job` tells when it is done."""
        return await self._ask(Job, "POST", "/jobs/mine", body=params)

    async def list_jobs(self, *, limit: int = 50) -> list[Job]:
        """The newest jobs first."""
        return (await self._ask(JobPage, "GET", "/jobs", query={"limit": limit})).jobs

    async def get_job(self, job_id: str) -> Job:
        return await self._ask(Job, "GET", f"/jobs/{_part(job_id)}")

    async def wait_job(
        self, job_id: str, *, after_revision: int = 0, timeout: float = _LONG_POLL_SECONDS
    ) -> Job:
        """The job as soon as its revision is above `after_revision`, or as it is at the timeout.

        Args:
            timeout: seconds, at most 30; call again to wait longer.
        """
        query = {"after_revision": after_revision, "timeout": min(timeout, _LONG_POLL_SECONDS)}
        return await self._ask(Job, "GET", f"/jobs/{_part(job_id)}", query=query)

    async def cancel_job(self, job_id: str) -> Job:
        return await self._ask(Job, "POST", f"/jobs/{_part(job_id)}/cancel", repeatable=True)

    async def retry_job(self, job_id: str) -> Job:
        """Queue a failed or cancelled job anew; answers the new job."""
        return await self._ask(Job, "POST", f"/jobs/{_part(job_id)}/retry")

    # --- forgetting -----------------------------------------------------------------------------

    async def look_at_forgetting(self, params: ForgetParams) -> ForgetReport:
        """What `forget` would do; changes nothing."""
        return await self._ask(ForgetReport, "POST", "/forget/look", body=params, repeatable=True)

    async def forget(self, params: ForgetParams) -> ForgetReport:
        """Erase a project or a session, and retire what learnt from it."""
        return await self._ask(ForgetReport, "POST", "/forget", body=params)

    # --- agents' own sessions -------------------------------------------------------------------

    async def capture_import(self, params: CaptureParams) -> CaptureReport:
        """Read one session file, and store what it tells."""
        # What is known is not stored again, so a broken call may be repeated.
        return await self._ask(
            CaptureReport, "POST", "/capture/import", body=params, repeatable=True
        )

    async def capture_status(self) -> CaptureStatus:
        """Which agents' sessions may be read, and what was read of them."""
        return await self._ask(CaptureStatus, "GET", "/capture")

    async def capture_allow(self, source: str, *, allowed: bool) -> CaptureStatus:
        """Allow or forbid that an agent's sessions are read."""
        params = SourceParams(source=source, allowed=allowed)
        return await self._ask(
            CaptureStatus, "POST", "/capture/sources", body=params, repeatable=True
        )

    async def provenance(self, trajectory_id: str) -> Provenance:
        """Where a trajectory came from, captured or not."""
        path = f"/capture/provenance/{_part(trajectory_id)}"
        return await self._ask(Provenance, "GET", path)

    # --- the engine itself ----------------------------------------------------------------------

    async def status(self) -> MemoryStatus:
        return await self._ask(MemoryStatus, "GET", "/status")

    async def overview(self) -> Overview:
        """Status, adapters with what was measured of them, and jobs."""
        return await self._ask(Overview, "GET", "/overview")

    async def changes(self, cursor: ChangeCursor | None) -> Changes | None:
        """What has changed since `cursor`; without one, where to begin.

        None while no engine runs, and then nothing changes. Starts none, and keeps none from
        ending.
        """
        params = ChangesParams(cursor=cursor)
        return await self._connection.ask_if_listening(Changes, "POST", "/changes", body=params)

    async def openai(self) -> OpenAIStatus:
        """Where the OpenAI-compatible endpoint is, if it is on."""
        return await self._ask(OpenAIStatus, "GET", "/openai")

    async def consolidation(self) -> ConsolidationStatus:
        """What the schedule would do, and what keeps it from doing it."""
        return await self._ask(ConsolidationStatus, "GET", "/consolidation")

    async def history(self, *, project_id: str | None = None, limit: int = 50) -> HistoryPage:
        """Decisions, changes and finished jobs, newest first."""
        query = {"project_id": project_id, "limit": limit}
        return await self._ask(HistoryPage, "GET", "/history", query=query)

    async def health(self) -> EngineHealth:
        """The running engine's health; starts one when none runs."""
        return await self._ask(EngineHealth, "GET", "/health")

    async def running(self) -> EngineHealth | None:
        """The running engine's health, or None; never starts one."""
        return await self._connection.health()

    async def start(self) -> EngineHealth:
        await self._connection.attach()
        return await self.health()

    async def stop(self) -> bool:
        """Stop the engine and wait until it is gone; False when none ran.

        Jobs that were running are taken up again by the next engine.
        """
        return await self._connection.stop()


def _part(identifier: str) -> str:
    from urllib.parse import quote

    return quote(identifier, safe="")
