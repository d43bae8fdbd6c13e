"""The `evaluate` job: what an adapter is worth, on tasks that it was not trained on.

Each task is put to the model with the adapter and without, on the same draws, and the sandbox
judges both. Every task is a step that is done once on either side, so an interrupted evaluation
goes on where it was. What is generated here is not stored: it is no session to learn from. What
was found is a row, in one transaction with the adapter's fitness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.database import utc_now
from rune_engine.errors import TrajectoryNotFoundError
from rune_engine.evaluation.conclusion import Weighing, conclude
from rune_engine.evaluation.measuring import Verdicts, measure, together
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.evaluation.tasks import HeldOutTask, distinct, task_of
from rune_engine.inference.factory import ProviderPool
from rune_engine.inference.provider import AdapterRef, InferenceProvider
from rune_engine.jobs.progress import Report
from rune_engine.jobs.steps import Steps
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.submission import check_evaluate
from rune_engine.models import (
    AdapterInfo,
    EvaluatedTask,
    EvaluateParams,
    EvaluateResult,
    EvaluationSettings,
    Job,
    Trajectory,
)
from rune_engine.registry import AdapterRegistry, lifecycle
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore

_SAMPLING_TEMPERATURE = 0.8


class Evaluate:
    """Runs `evaluate` jobs."""

    def __init__(
        self,
        config: RuneConfig,
        providers: ProviderPool,
        *,
        registry: AdapterRegistry,
        trajectories: TrajectoryStore,
        evaluations: EvaluationStore,
        sandbox: Sandbox,
        jobs: JobStore,
    ) -> None:
        self._settings = config.evaluation
        self._providers = providers
        self._registry = registry
        self._trajectories = trajectories
        self._evaluations = evaluations
        self._sandbox = sandbox
        self._jobs = jobs

    async def __call__(self, job: Job, report: Report) -> EvaluateResult:
        params = EvaluateParams.model_validate(job.params)
        provider = self._providers.get(params.base_model)
        adapter = await asyncio.to_thread(
            check_evaluate, params, provider.base_model_id, self._registry, self._trajectories
        )
        ref = await asyncio.to_thread(self._registry.verified_ref, adapter.id)
        steps = self._jobs.steps(job)
        ids = await steps.run("tasks", lambda: asyncio.to_thread(self._choose, params, adapter))
        tasks = await asyncio.to_thread(self._tasks, ids)
        settings = self._resolved(params, provider, ref)
        sides = await self._measure(tasks, ref, settings, provider, steps, report)
        result = self._result(job.id, adapter, tasks, sides, settings, params.pass_at)
        return await asyncio.to_thread(self._keep, job.id, adapter, result)

    # --- which tasks ----------------------------------------------------------------------------

    def _choose(self, params: EvaluateParams, adapter: AdapterInfo) -> list[str]:
        """The ids of the tasks to judge by; each task once, none without tests."""
        if params.trajectory_ids is not None:
            found: Iterable[Trajectory] = map(self._trajectories.get, params.trajectory_ids)
        else:
            found = self._not_trained_on(adapter, params.max_tasks)
        tasks = distinct(map(task_of, found))
        return [str(task.trajectory_id) for task in islice(tasks, params.max_tasks)]

    def _not_trained_on(self, adapter: AdapterInfo, most: int) -> list[Trajectory]:
        roles = self._registry.learnt_from(adapter.id)
        kept_back = self._existing(each for each, role in roles.items() if role == "kept_back")
        trained = self._existing(each for each, role in roles.items() if role == "trained")
        level = adapter.hierarchy_level
        held_out = self._trajectories.held_out(
            adapter.project_id,
            None if level == "project" else adapter.domain,
            adapter.task_type if level == "task" else None,
            limit=2 * most,
        )
        known = {t.task_description for t in trained}
        return [t for t in (*kept_back, *held_out) if t.task_description not in known]

    def _tasks(self, ids: Sequence[str]) -> list[HeldOutTask]:
        """Those of the chosen tasks that were not forgotten meanwhile."""
        return [task_of(trajectory) for trajectory in self._existing(ids)]

    def _existing(self, ids: Iterable[str]) -> list[Trajectory]:
        return [t for t in map(self._find, ids) if t is not None]

    def _find(self, trajectory_id: str) -> Trajectory | None:
        try:
            return self._trajectories.get(trajectory_id)
        except TrajectoryNotFoundError:
            return None

    # --- what becomes of them -------------------------------------------------------------------

    def _resolved(
        self, params: EvaluateParams, provider: InferenceProvider, adapter: AdapterRef
    ) -> EvaluationSettings:
        temperature = params.temperature
        if temperature is None:
            temperature = 0.0 if params.samples == 1 else _SAMPLING_TEMPERATURE
        return EvaluationSettings(
            criterion=params.criterion,
            provider=provider.name,
            samples=params.samples,
            temperature=temperature,
            seed=params.seed,
            max_tokens=params.max_tokens,
            max_tasks=params.max_tasks,
            alpha=self._settings.alpha,
            fewest_tasks=self._settings.fewest_tasks,
            adapter_sha256=adapter.sha256,
            rune_version=rune_engine.__version__,
        )

    async def _measure(
        self,
        tasks: Sequence[HeldOutTask],
        adapter: AdapterRef,
        settings: EvaluationSettings,
        provider: InferenceProvider,
        steps: Steps,
        report: Report,
    ) -> tuple[Mapping[str, Verdicts], Mapping[str, Verdicts]]:
        """Every task's verdicts, with the adapter and without."""
        done = 0

        def one_more() -> None:
            nonlocal done
            done += 1
            report(done / (2 * len(tasks)), f"{done // 2} of {len(tasks)} tasks")

        with_adapter, with_base = await together(
            [
                measure(
                    tasks,
                    side,
                    provider=provider,
                    sandbox=self._sandbox,
                    samples=settings.samples,
                    temperature=settings.temperature,
                    seed=settings.seed,
                    max_tokens=settings.max_tokens,
                    at_once=self._settings.at_once,
                    keep=steps,
                    on_task=one_more,
                )
                for side in (adapter, None)
            ]
        )
        return with_adapter, with_base

    def _result(
        self,
        job_id: str,
        adapter: AdapterInfo,
        tasks: Sequence[HeldOutTask],
        sides: tuple[Mapping[str, Verdicts], Mapping[str, Verdicts]],
        settings: EvaluationSettings,
        ks: Sequence[int],
    ) -> EvaluateResult:
        with_adapter, with_base = sides
        per_task = [
            EvaluatedTask(
                task=each.task,
                group=each.group,
                trajectory_id=each.trajectory_id,
                with_adapter=with_adapter[each.task],
                with_base=with_base[each.task],
            )
            for each in tasks
        ]
        weighing = Weighing(settings.alpha, settings.fewest_tasks)
        return EvaluateResult(
            evaluation_id=job_id,
            adapter_id=adapter.id,
            base_model_id=adapter.base_model_id,
            samples_per_task=settings.samples,
            settings=settings,
            created_at=utc_now(),
            per_task=per_task,
            **conclude(per_task, weighing, ks),
        )

    def _keep(self, job_id: str, adapter: AdapterInfo, result: EvaluateResult) -> EvaluateResult:
        """Write it down, once; too little for a fitness leaves the adapter's as it was."""
        with self._evaluations.writing() as session:
            if known := self._evaluations.find(session, result.evaluation_id):
                return known
            self._evaluations.add(session, result, project_id=adapter.project_id, caused_by=job_id)
            if result.evaluated:
                lifecycle.measure(
                    session,
                    adapter.id,
                    pass_rate=result.pass_rate,
                    fitness_score=result.fitness,
                    tasks=result.tasks - result.undecided,
                    samples_per_task=result.samples_per_task,
                    caused_by=job_id,
                )
        return result
