"""S6, the agent loop: generate -> execute -> reflect, again or save_trajectory.

    START -> generate -> execute -> reflect -> should_retry? -> generate
                                                            `-> save_trajectory -> END

It ends when the tests pass, when `max_attempts` are used up, when no verdict can be reached
(trying again would teach nothing), or when the model or the sandbox fails; whatever was
generated until then is saved, then the failure is raised. The loop knows a provider, a sandbox
and a trajectory store by their interfaces only; which adapter is on was decided before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypedDict

import prompts
from rune_engine.agent.code import extract_code, storable
from rune_engine.errors import ContextTooLongError, ProjectOptedOutError, RuneError
from rune_engine.feedback import failure_output
from rune_engine.inference.provider import (
    AdapterRef,
    ChatMessage,
    Generation,
    GenerationRequest,
    InferenceProvider,
)
from rune_engine.models import (
    Attempt,
    Outcome,
    RunTaskParams,
    TaskResult,
    Trajectory,
    TrajectoryDraft,
)
from rune_engine.sandbox.verdict import Infra, Verdict, tests_passed
from rune_engine.trajectories.redaction import redact_attempt

Progress = Callable[[float, str], None]


class Sandbox(Protocol):
    """What the loop needs of S5."""

    async def run(
        self,
        candidate: str,
        tests: str,
        *,
        workspace: Path | None = None,
        confirm: bool = False,
    ) -> Verdict: ...


class TrajectoryRecorder(Protocol):
    """What the loop needs of S2."""

    def record(
        self, draft: TrajectoryDraft, *, trajectory_id: str | None = None
    ) -> tuple[Trajectory, bool]: ...


_OUTCOMES: dict[bool | None, Outcome] = {True: "success", False: "exhausted", None: "unknown"}


class RuneState(TypedDict):
    """Everything a node may read or change."""

    attempts: list[Attempt]
    attempt_count: int
    generated_code: str
    verdict: Verdict | None
    prompt_tokens: int
    completion_tokens: int
    outcome: Outcome | None
    trajectory_id: str | None
    failure: RuneError | None


async def run_task(
    params: RunTaskParams,
    *,
    provider: InferenceProvider,
    sandbox: Sandbox,
    trajectories: TrajectoryRecorder,
    adapter: AdapterRef | None,
    adapter_reason: str,
    on_progress: Progress,
    trajectory_id: str | None = None,
) -> TaskResult:
    """Let the local model solve a task, and keep what happened.

    `trajectory_id` is for the trajectory of a task that came to its end; a model that fails leaves
    one with an id of its own.

    Cancelling the awaiting task stops the generation or the run; nothing is saved then.

    Raises:
        InferenceError: the model failed; earlier attempts are saved.
        SandboxUnavailableError: code cannot be isolated here; what was generated is saved.
    """
    loop = AgentLoop(params, provider, sandbox, trajectories, adapter, on_progress, trajectory_id)
    state = await loop.run()
    if state["failure"] is not None:
        raise state["failure"]
    assert state["outcome"] is not None
    return TaskResult(
        outcome=state["outcome"],
        tests_passed=state["outcome"] == "success",
        code=state["attempts"][-1].generated_code,
        attempts=state["attempts"],
        adapter_id=adapter.id if adapter else None,
        adapter_reason=adapter_reason,
        base_model_id=provider.base_model_id,
        trajectory_id=state["trajectory_id"],
        prompt_tokens=state["prompt_tokens"],
        completion_tokens=state["completion_tokens"],
    )


class AgentLoop:
    """One task's nodes and routing; every node returns the part of the state it changed."""

    def __init__(
        self,
        params: RunTaskParams,
        provider: InferenceProvider,
        sandbox: Sandbox,
        trajectories: TrajectoryRecorder,
        adapter: AdapterRef | None,
        on_progress: Progress,
        trajectory_id: str | None = None,
    ) -> None:
        self._params = params
        self._provider = provider
        self._sandbox = sandbox
        self._trajectories = trajectories
        self._adapter = adapter
        self._on_progress = on_progress
        self._trajectory_id = trajectory_id

    async def run(self) -> RuneState:
        """Run the graph to its end."""
        from langsmith import tracing_context

        start = RuneState(
            attempts=[],
            attempt_count=0,
            generated_code="",
            verdict=None,
            prompt_tokens=0,
            completion_tokens=0,
            outcome=None,
            trajectory_id=None,
            failure=None,
        )
        # LangGraph would send every state to a tracing service if the environment says so.
        with tracing_context(enabled=False):
            end: RuneState = await self._graph().ainvoke(
                start, {"recursion_limit": 3 * self._params.max_attempts + 2}
            )
        return end

    def _graph(self) -> Any:
        # Imported here: LangGraph costs more to import than all the rest of the engine.
        from langgraph.graph import END, START, StateGraph

        graph = StateGraph(RuneState)
        graph.add_node("generate", self.generate)
        graph.add_node("execute", self.execute)
        graph.add_node("reflect", self.reflect)
        graph.add_node("save_trajectory", self.save_trajectory)
        graph.add_edge(START, "generate")
        graph.add_conditional_edges("generate", self.was_generated, ["execute", "save_trajectory"])
        graph.add_edge("execute", "reflect")
        graph.add_conditional_edges("reflect", self.should_retry, ["generate", "save_trajectory"])
        graph.add_edge("save_trajectory", END)
        return graph.compile()

    # --- nodes ---------------------------------------------------------------------------------

    async def generate(self, state: RuneState) -> dict[str, Any]:
        self._report(state, 0.0, "generating")
        try:
            answer = await self._answer(state)
        except RuneError as error:
            return {"failure": error}
        return {
            "generated_code": storable(extract_code(answer.text)),
            "prompt_tokens": state["prompt_tokens"] + answer.prompt_tokens,
            "completion_tokens": state["completion_tokens"] + answer.completion_tokens,
        }

    async def execute(self, state: RuneState) -> dict[str, Any]:
        if not self._params.test_suite.strip():
            return {"verdict": Infra(message="No tests were given.")}
        self._report(state, 0.5, "running the tests")
        try:
            verdict = await self._run_tests(state["generated_code"])
            if isinstance(verdict, Infra):
                verdict = await self._run_tests(state["generated_code"])
        except RuneError as error:
            return {"verdict": Infra(message=error.message), "failure": error}
        return {"verdict": verdict}

    async def reflect(self, state: RuneState) -> dict[str, Any]:
        verdict = state["verdict"]
        assert verdict is not None
        evidence = verdict.evidence
        attempt = redact_attempt(
            Attempt(
                generated_code=state["generated_code"],
                stdout=storable(evidence.stdout) if evidence else "",
                stderr=storable(evidence.stderr) if evidence else "",
                exit_code=evidence.exit_code if evidence else None,
                tests_passed=tests_passed(verdict),
                verdict=verdict.model_dump(mode="json"),
            )
        )
        return {
            "attempts": [*state["attempts"], attempt],
            "attempt_count": state["attempt_count"] + 1,
        }

    async def save_trajectory(self, state: RuneState) -> dict[str, Any]:
        if not state["attempts"]:
            return {}
        outcome = _OUTCOMES[state["attempts"][-1].tests_passed]
        draft = self._draft(state["attempts"], outcome)
        wanted = self._trajectory_id if state["failure"] is None else None
        trajectory_id = None
        with suppress(ProjectOptedOutError):
            stored, _ = await asyncio.to_thread(
                self._trajectories.record, draft, trajectory_id=wanted
            )
            trajectory_id = stored.id
        self._on_progress(1.0, outcome)
        return {"outcome": outcome, "trajectory_id": trajectory_id}

    # --- routing -------------------------------------------------------------------------------

    def was_generated(self, state: RuneState) -> str:
        return "save_trajectory" if state["failure"] else "execute"

    def should_retry(self, state: RuneState) -> str:
        failed = state["attempts"][-1].tests_passed is False
        if failed and state["attempt_count"] < self._params.max_attempts:
            return "generate"
        return "save_trajectory"

    # --- what the nodes share ------------------------------------------------------------------

    async def _answer(self, state: RuneState) -> Generation:
        """Ask with every failed attempt in the prompt, or with as many of the last as fit."""
        for oldest in range(len(state["attempts"]) + 1):
            try:
                request = self._request(state, state["attempts"][oldest:])
                [answer] = await self._provider.generate([request], adapter=self._adapter)
                return answer
            except ContextTooLongError:
                if oldest == len(state["attempts"]):
                    raise
        raise AssertionError("the last round returns or raises")

    def _request(self, state: RuneState, shown: Sequence[Attempt]) -> GenerationRequest:
        failed = [(attempt.generated_code, failure_output(attempt)) for attempt in shown]
        messages = prompts.conversation(self._params.task_description, failed)
        return GenerationRequest(
            messages=tuple(ChatMessage(m["role"], m["content"]) for m in messages),  # type: ignore[arg-type]
            max_tokens=self._params.max_tokens,
            temperature=self._params.temperature,
            seed=self._params.seed + state["attempt_count"],
        )

    async def _run_tests(self, code: str) -> Verdict:
        workspace = Path(self._params.workspace) if self._params.workspace else None
        # What passes may be learned from: it has to pass twice.
        return await self._sandbox.run(
            code, self._params.test_suite, workspace=workspace, confirm=True
        )

    def _draft(self, attempts: list[Attempt], outcome: Outcome) -> TrajectoryDraft:
        wanted = self._params.model_dump(
            include=set(TrajectoryDraft.model_fields) & set(RunTaskParams.model_fields)
        )
        return TrajectoryDraft(
            **wanted,
            attempts=attempts,
            outcome=outcome,
            adapter_id=self._adapter.id if self._adapter else None,
            source="agent_loop",
        )

    def _report(self, state: RuneState, part: float, doing: str) -> None:
        done = (state["attempt_count"] + part) / self._params.max_attempts
        number = state["attempt_count"] + 1
        self._on_progress(done, f"attempt {number} of {self._params.max_attempts}: {doing}")
