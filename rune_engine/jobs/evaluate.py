"""The `evaluate` job: what an adapter is worth, on tasks that it was not trained on.

Each task is put to the model once with the adapter and once without, and the sandbox judges both.
Every verdict is a step that is done once, so an interrupted evaluation goes on where it was. What
is generated here is not stored: it is no session to learn from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

from rune_engine.database import utc_now
from rune_engine.errors import ContextTooLongError, TrajectoryNotFoundError
from rune_engine.inference.factory import ProviderPool
from rune_engine.inference.provider import AdapterRef, InferenceProvider
from rune_engine.jobs.progress import Report
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.submission import check_evaluate
from rune_engine.models import (
    AdapterInfo,
    EvaluatedTask,
    EvaluateParams,
    EvaluateResult,
    Job,
    RunTaskParams,
    Trajectory,
    TrajectoryDraft,
)
from rune_engine.registry import AdapterRegistry
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore


class NotKept:
    """Takes the place of the trajectory store: what is recorded is gone."""

    def record(
        self, draft: TrajectoryDraft, *, trajectory_id: str | None = None
    ) -> tuple[Trajectory, bool]:
        """The trajectory as it would have been stored."""
        given = draft.model_dump(exclude={"session_id"})
        own = {"id": trajectory_id or "not-kept", "session_id": "not-kept", "content_hash": ""}
        return Trajectory(**given, **own, created_at=utc_now()), False


class Evaluate:
    """Runs `evaluate` jobs."""

    def __init__(
        self,
        providers: ProviderPool,
        registry: AdapterRegistry,
        trajectories: TrajectoryStore,
        sandbox: Sandbox,
        jobs: JobStore,
    ) -> None:
        self._providers = providers
        self._registry = registry
        self._trajectories = trajectories
        self._sandbox = sandbox
        self._jobs = jobs

    async def __call__(self, job: Job, report: Report) -> EvaluateResult:
        params = EvaluateParams.model_validate(job.params)
        provider = self._providers.get(params.base_model)
        adapter = await asyncio.to_thread(
            check_evaluate, params, provider.base_model_id, self._registry, self._trajectories
        )
        steps = self._jobs.steps(job)
        ids = await steps.run("tasks", lambda: asyncio.to_thread(self._choose, params, adapter))
        judged: list[EvaluatedTask] = []
        for number, trajectory_id in enumerate(ids, 1):
            report((number - 1) / len(ids), f"task {number} of {len(ids)}")
            judge = partial(self._judge, trajectory_id, params, provider)
            done = await steps.run(trajectory_id, judge)
            if done is not None:
                judged.append(EvaluatedTask.model_validate(done))
        result = _result(adapter, judged)
        await asyncio.to_thread(self._keep, job.id, result)
        return result

    def _choose(self, params: EvaluateParams, adapter: AdapterInfo) -> list[str]:
        """The ids of the tasks to judge by; each task once, none without tests."""
        if params.trajectory_ids is not None:
            found = [self._trajectories.get(each) for each in params.trajectory_ids]
            return [t.id for t in islice(_distinct(found), params.max_tasks)]
        roles = self._registry.learnt_from(adapter.id)
        kept_back = self._existing(each for each, role in roles.items() if role == "kept_back")
        trained = self._existing(each for each, role in roles.items() if role == "trained")
        level = adapter.hierarchy_level
        held_out = self._trajectories.held_out(
            adapter.project_id,
            None if level == "project" else adapter.domain,
            adapter.task_type if level == "task" else None,
            limit=2 * params.max_tasks,
        )
        known = {t.task_description for t in trained}
        fresh = (t for t in (*kept_back, *held_out) if t.task_description not in known)
        return [t.id for t in islice(_distinct(fresh), params.max_tasks)]

    def _existing(self, ids: Iterable[str]) -> list[Trajectory]:
        return [t for t in map(self._find, ids) if t is not None]

    def _find(self, trajectory_id: str) -> Trajectory | None:
        try:
            return self._trajectories.get(trajectory_id)
        except TrajectoryNotFoundError:
            return None

    async def _judge(
        self, trajectory_id: str, params: EvaluateParams, provider: InferenceProvider
    ) -> dict[str, object] | None:
        """One task's verdicts; None when it was forgotten meanwhile."""
        task = await asyncio.to_thread(self._find, trajectory_id)
        if task is None:
            return None
        ref = await asyncio.to_thread(self._registry.verified_ref, params.adapter_id)
        return EvaluatedTask(
            trajectory_id=trajectory_id,
            with_adapter=await self._passes(task, params, provider, ref),
            with_base=await self._passes(task, params, provider, None),
        ).model_dump()

    async def _passes(
        self,
        task: Trajectory,
        params: EvaluateParams,
        provider: InferenceProvider,
        adapter: AdapterRef | None,
    ) -> bool | None:
        # Imported at the first task, as in `run_task`.
        from rune_engine.agent.graph import run_task

        try:
            solved = await run_task(
                RunTaskParams(
                    task_description=task.task_description,
                    test_suite=task.test_suite,
                    project_id=task.project_id,
                    max_attempts=1,
                    max_tokens=params.max_tokens,
                    temperature=0.0,
                    seed=params.seed,
                ),
                provider=provider,
                sandbox=self._sandbox,
                trajectories=NotKept(),
                adapter=adapter,
                adapter_reason="It is being evaluated.",
                on_progress=lambda _done, _doing: None,
            )
        except ContextTooLongError:
            return None
        return solved.attempts[-1].tests_passed

    def _keep(self, job_id: str, result: EvaluateResult) -> None:
        """Write the adapter's fitness down; what nobody could measure changes nothing.

        The score is the pass rate alone so far; generalization will count when it is measured.
        """
        if result.pass_rate is not None:
            self._registry.update_fitness(
                result.adapter_id,
                result.pass_rate,
                result.pass_rate,
                tasks=result.tasks - result.undecided,
                samples_per_task=1,
                caused_by=job_id,
            )


def _distinct(trajectories: Iterable[Trajectory]) -> Iterable[Trajectory]:
    """Those that have tests, each task once."""
    seen: set[tuple[str, str]] = set()
    for trajectory in trajectories:
        task = (trajectory.task_description, trajectory.test_suite)
        if trajectory.test_suite.strip() and task not in seen:
            seen.add(task)
            yield trajectory


def _result(adapter: AdapterInfo, judged: Sequence[EvaluatedTask]) -> EvaluateResult:
    decided = [
        task for task in judged if task.with_adapter is not None and task.with_base is not None
    ]
    return EvaluateResult(
        adapter_id=adapter.id,
        base_model_id=adapter.base_model_id,
        tasks=len(judged),
        undecided=len(judged) - len(decided),
        pass_rate=_rate([task.with_adapter for task in decided]),
        base_pass_rate=_rate([task.with_base for task in decided]),
        per_task=list(judged),
    )


def _rate(verdicts: Sequence[bool | None]) -> float | None:
    return sum(verdict is True for verdict in verdicts) / len(verdicts) if verdicts else None
