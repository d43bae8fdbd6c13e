"""The engine's client: what the MCP server and the `rune` command use.

Attaches to the engine of this home and starts it when there is none. Importing this module is
light; httpx is loaded at the first call. Knows nothing of how the engine does its work.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.errors import EngineUnavailableError, RuneError, from_envelope
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
    MineParams,
    Model,
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
from rune_engine.starter import engine_started, is_listening, require_unix_sockets

if TYPE_CHECKING:
    import httpx

_Answer = TypeVar("_Answer", bound=Model)

_READ_SECONDS = 120.0
_STOP_SECONDS = 20.0
_CONNECT_ATTEMPTS = 3
_LONG_POLL_SECONDS = 30.0


class EngineClient:
    """Talks to the one engine of `config.home`.

    Every method raises the engine's own error (`RuneError` and below), and
    `EngineUnavailableError` when the engine cannot be reached or died over the call.
    """

    def __init__(self, config: RuneConfig) -> None:
        self._config = config
        self._http: httpx.AsyncClient | None = None
        self._attached = False

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
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    # --- trajectories and adapters --------------------------------------------------------------

    async def record(self, draft: TrajectoryDraft) -> RecordedTrajectory:
        # Recording twice is recognised by content, so a broken call may be repeated.
        answer = await self._call("POST", "/trajectories", body=draft, repeatable=True)
        return RecordedTrajectory.model_validate(answer)

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
        return TrajectoryListing.model_validate(
            await self._call("GET", "/trajectories", query=query)
        )

    async def get_trajectory(self, trajectory_id: str) -> StoredTrajectory:
        """A trajectory with its attempts, and where it came from."""
        path = f"/trajectories/{_part(trajectory_id)}"
        return StoredTrajectory.model_validate(await self._call("GET", path))

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
        answer = await self._call("POST", "/adapters/retrieve", body=params, repeatable=True)
        return RetrievedAdapter.model_validate(answer)

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
        return AdapterPage.model_validate(await self._call("GET", "/adapters", query=query))

    async def get_adapter(self, adapter_id: str) -> AdapterInfo:
        return AdapterInfo.model_validate(await self._call("GET", f"/adapters/{_part(adapter_id)}"))

    # --- evolution ------------------------------------------------------------------------------

    async def archive_adapter(self, adapter_id: str, *, reason: str = "") -> AdapterInfo:
        """Take an adapter out of use; its weights stay."""
        return await self._steer(adapter_id, "archive", reason)

    async def restore_adapter(self, adapter_id: str, *, reason: str = "") -> AdapterInfo:
        """Put an archived adapter in use again."""
        return await self._steer(adapter_id, "restore", reason)

    async def _steer(self, adapter_id: str, what: str, reason: str) -> AdapterInfo:
        path, body = f"/adapters/{_part(adapter_id)}/{what}", SteeringParams(reason=reason)
        return AdapterInfo.model_validate(
            await self._call("POST", path, body=body, repeatable=True)
        )

    async def plan_evolution(self, params: EvolveParams) -> EvolutionPlan:
        """What `evolve` would decide of a project now; changes nothing."""
        answer = await self._call("POST", "/evolve/plan", body=params, repeatable=True)
        return EvolutionPlan.model_validate(answer)

    async def evolve(self, params: EvolveParams) -> Job:
        """Queue a look at a project's adapters; `wait_job` tells when it is done."""
        return Job.model_validate(await self._call("POST", "/jobs/evolve", body=params))

    async def consolidate(self, params: ConsolidateParams) -> Job:
        """Queue the making of one adapter of several; `wait_job` tells when it is done."""
        return Job.model_validate(await self._call("POST", "/jobs/consolidate", body=params))

    async def undo(self, event: int) -> UndoResult:
        """Take a decision back, by the number of its event."""
        answer = await self._call(
            "POST", "/evolve/undo", body=UndoParams(event=event), repeatable=True
        )
        return UndoResult.model_validate(answer)

    async def compare_adapters(self, params: CompareParams) -> Comparison:
        """Two adapters on the tasks that both were measured on."""
        answer = await self._call("POST", "/adapters/compare", body=params, repeatable=True)
        return Comparison.model_validate(answer)

    async def evaluations(self, adapter_id: str, *, limit: int = 20) -> list[EvaluateResult]:
        """What was measured of an adapter, the newest first."""
        path = f"/adapters/{_part(adapter_id)}/evaluations"
        answer = await self._call("GET", path, query={"limit": limit})
        return EvaluationPage.model_validate(answer).evaluations

    # --- projects -------------------------------------------------------------------------------

    async def project(self, project_id: str) -> ProjectState:
        """What is held of a project, and whether it may be recorded."""
        answer = await self._call("GET", "/project", query={"project_id": project_id})
        return ProjectState.model_validate(answer)

    async def set_recording(self, project_id: str, *, recorded: bool) -> ProjectState:
        """Turn recording of a project, and learning from it, on or off."""
        params = RecordingParams(project_id=project_id, recorded=recorded)
        answer = await self._call("POST", "/project/recording", body=params, repeatable=True)
        return ProjectState.model_validate(answer)

    # --- jobs -----------------------------------------------------------------------------------

    async def run_task(self, params: RunTaskParams) -> Job:
        """Queue a task for the local model; `wait_job` tells when it is done."""
        return Job.model_validate(await self._call("POST", "/jobs/run_task", body=params))

    async def distill(self, params: DistillParams) -> Job:
        """Queue a distillation; `wait_job` tells when it is done."""
        return Job.model_validate(await self._call("POST", "/jobs/distill", body=params))

    async def evaluate(self, params: EvaluateParams) -> Job:
        """Queue an adapter's evaluation; `wait_job` tells when it is done."""
        return Job.model_validate(await self._call("POST", "/jobs/evaluate", body=params))

    async def import_file(self, params: ImportParams) -> Job:
        """Queue the import of a file of trajectories; `wait_job` tells when it is done."""
        return Job.model_validate(await self._call("POST", "/jobs/import", body=params))

    async def mine(self, params: MineParams) -> Job:
        """Queue the mining of a repository's history; `wait_job` tells when it is done."""
        return Job.model_validate(await self._call("POST", "/jobs/mine", body=params))

    async def list_jobs(self, *, limit: int = 50) -> list[Job]:
        """The newest jobs first."""
        answer = await self._call("GET", "/jobs", query={"limit": limit})
        return JobPage.model_validate(answer).jobs

    async def get_job(self, job_id: str) -> Job:
        return Job.model_validate(await self._call("GET", f"/jobs/{_part(job_id)}"))

    async def wait_job(
        self, job_id: str, *, after_revision: int = 0, timeout: float = _LONG_POLL_SECONDS
    ) -> Job:
        """The job as soon as its revision is above `after_revision`, or as it is at the timeout.

        Args:
            timeout: seconds, at most 30; call again to wait longer.
        """
        query = {"after_revision": after_revision, "timeout": min(timeout, _LONG_POLL_SECONDS)}
        return Job.model_validate(await self._call("GET", f"/jobs/{_part(job_id)}", query=query))

    async def cancel_job(self, job_id: str) -> Job:
        answer = await self._call("POST", f"/jobs/{_part(job_id)}/cancel", repeatable=True)
        return Job.model_validate(answer)

    async def retry_job(self, job_id: str) -> Job:
        """Queue a failed or cancelled job anew; answers the new job."""
        return Job.model_validate(await self._call("POST", f"/jobs/{_part(job_id)}/retry"))

    # --- forgetting -----------------------------------------------------------------------------

    async def look_at_forgetting(self, params: ForgetParams) -> ForgetReport:
        """What `forget` would do; changes nothing."""
        answer = await self._call("POST", "/forget/look", body=params, repeatable=True)
        return ForgetReport.model_validate(answer)

    async def forget(self, params: ForgetParams) -> ForgetReport:
        """Erase a project or a session, and retire what learnt from it."""
        return ForgetReport.model_validate(await self._call("POST", "/forget", body=params))

    # --- agents' own sessions -------------------------------------------------------------------

    async def capture_import(self, params: CaptureParams) -> CaptureReport:
        """Read one session file, and store what it tells."""
        # What is known is not stored again, so a broken call may be repeated.
        answer = await self._call("POST", "/capture/import", body=params, repeatable=True)
        return CaptureReport.model_validate(answer)

    async def capture_status(self) -> CaptureStatus:
        """Which agents' sessions may be read, and what was read of them."""
        return CaptureStatus.model_validate(await self._call("GET", "/capture"))

    async def capture_allow(self, source: str, *, allowed: bool) -> CaptureStatus:
        """Allow or forbid that an agent's sessions are read."""
        params = SourceParams(source=source, allowed=allowed)
        answer = await self._call("POST", "/capture/sources", body=params, repeatable=True)
        return CaptureStatus.model_validate(answer)

    async def provenance(self, trajectory_id: str) -> Provenance:
        """Where a trajectory came from, captured or not."""
        path = f"/capture/provenance/{_part(trajectory_id)}"
        return Provenance.model_validate(await self._call("GET", path))

    # --- the engine itself ----------------------------------------------------------------------

    async def status(self) -> MemoryStatus:
        return MemoryStatus.model_validate(await self._call("GET", "/status"))

    async def overview(self) -> Overview:
        """Status, adapters with what was measured of them, and jobs."""
        return Overview.model_validate(await self._call("GET", "/overview"))

    async def changes(self, cursor: ChangeCursor | None) -> Changes | None:
        """What has changed since `cursor`; without one, where to begin.

        None while no engine runs, and then nothing changes. Starts none, and keeps none from
        ending.
        """
        import httpx

        require_unix_sockets()
        if not await asyncio.to_thread(is_listening, self._config):
            return None
        try:
            answer = await self._send("POST", "/changes", ChangesParams(cursor=cursor), None)
        except httpx.TransportError:
            return None
        return Changes.model_validate(answer)

    async def openai(self) -> OpenAIStatus:
        """Where the OpenAI-compatible endpoint is, if it is on."""
        return OpenAIStatus.model_validate(await self._call("GET", "/openai"))

    async def consolidation(self) -> ConsolidationStatus:
        """What the schedule would do, and what keeps it from doing it."""
        return ConsolidationStatus.model_validate(await self._call("GET", "/consolidation"))

    async def history(self, *, project_id: str | None = None, limit: int = 50) -> HistoryPage:
        """Decisions, changes and finished jobs, newest first."""
        query = {"project_id": project_id, "limit": limit}
        return HistoryPage.model_validate(await self._call("GET", "/history", query=query))

    async def health(self) -> EngineHealth:
        """The running engine's health; starts one when none runs."""
        return EngineHealth.model_validate(await self._call("GET", "/health"))

    async def running(self) -> EngineHealth | None:
        """The running engine's health, or None; never starts one."""
        return await self._ask_if_listening()

    async def start(self) -> EngineHealth:
        await self._attach()
        return await self.health()

    async def stop(self) -> bool:
        """Stop the engine and wait until it is gone; False when none ran.

        Jobs that were running are taken up again by the next engine.
        """
        import httpx

        if await self._ask_if_listening() is None:
            return False
        with suppress(httpx.TransportError):
            await self._send("POST", "/stop", None, None)
        await asyncio.to_thread(_wait_until_gone, self._config)
        return True

    # --- how a call is made ---------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Model | None = None,
        query: dict[str, Any] | None = None,
        repeatable: bool = False,
    ) -> Any:
        """Send one request, on a fresh engine when the last one has just gone.

        A request that never reached an engine is sent again; so is one that did, when repeating
        it changes nothing. Any other interrupted call is reported.
        """
        import httpx

        for _ in range(_CONNECT_ATTEMPTS):
            if not self._attached:
                await self._attach()
            try:
                return await self._send(method, path, body, query)
            except httpx.ConnectError:
                self._attached = False
            except httpx.TransportError as error:
                if not (repeatable or method == "GET"):
                    raise _interrupted(path, error) from error
                self._attached = False
        raise EngineUnavailableError(
            f"Rune's engine went away {_CONNECT_ATTEMPTS} times over {path}.",
            next_step=f"Read {self._config.logs_path / 'engine.log'} and try again.",
        )

    async def _send(
        self, method: str, path: str, body: Model | None, query: dict[str, Any] | None
    ) -> Any:
        content = None if body is None else body.model_dump_json().encode()
        params = {key: value for key, value in (query or {}).items() if value is not None}
        response = await self._connection().request(
            method,
            path,
            content=content,
            params=params,
            headers={"content-type": "application/json"},
        )
        answer = response.json()
        if response.is_error:
            raise from_envelope(answer["error"])
        return answer

    def _connection(self) -> httpx.AsyncClient:
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(
                    uds=str(self._config.socket_path),
                    # A kept connection may belong to an engine that is gone by the next call.
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                ),
                base_url="http://engine",
                trust_env=False,
                timeout=httpx.Timeout(_READ_SECONDS, connect=5.0),
            )
        return self._http

    async def _attach(self) -> None:
        """Make sure that an engine of our own version listens."""
        require_unix_sockets()
        await engine_started(self._config)
        health = await self._ask_if_listening()
        if health is not None and health.version != rune_engine.__version__:
            await self._replace(health)
        self._attached = True

    async def _replace(self, health: EngineHealth) -> None:
        if health.busy:
            raise EngineUnavailableError(
                f"Rune's engine is version {health.version} and is working; this is version "
                f"{rune_engine.__version__}.",
                next_step="Wait for its jobs, or run `rune engine stop`, then try again.",
            )
        await self.stop()
        await engine_started(self._config)

    async def _ask_if_listening(self) -> EngineHealth | None:
        import httpx

        require_unix_sockets()
        if not is_listening(self._config):
            return None
        try:
            answer = await self._send("GET", "/health", None, None)
        except httpx.TransportError:
            return None
        # Another version's answer may hold more than we know.
        known = {key: answer[key] for key in EngineHealth.model_fields if key in answer}
        return EngineHealth.model_validate(known)


def _part(identifier: str) -> str:
    from urllib.parse import quote

    return quote(identifier, safe="")


def _interrupted(path: str, error: Exception) -> RuneError:
    return EngineUnavailableError(
        f"Rune's engine went away while it handled {path} ({type(error).__name__}); whether it "
        "was done is not known.",
        next_step="Look at the list of jobs (`rune jobs list`), then repeat the call if needed.",
    )


def _wait_until_gone(config: RuneConfig) -> None:
    """Wait until the stopping engine has let go of its lock."""
    import time

    from rune_engine.home import locked

    with locked(config.lock_path, deadline=time.monotonic() + _STOP_SECONDS):
        return
