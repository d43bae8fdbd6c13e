"""The `evaluate` job: what an adapter is worth, on tasks that it was not trained on.

Each task is put to the model with the adapter and without, on the same draws, and the sandbox
judges both. Every task is a step that is done once on either side, so an interrupted evaluation
goes on where it was. What is generated here is not stored: it is no session to learn from. What
was found is a row, in one transaction with the adapter's fitness.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.database import Database, utc_now
from rune_engine.evaluation.choosing import Chooser
from rune_engine.evaluation.conclusion import Weighing, conclude
from rune_engine.evaluation.measuring import Keep, Verdicts, measure, together
from rune_engine.evaluation.outcomes import Remembered
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.evaluation.sorts import no_fitness
from rune_engine.evaluation.tasks import HeldOutTask
from rune_engine.inference.factory import ProviderPool
from rune_engine.inference.provider import AdapterRef, InferenceProvider
from rune_engine.jobs.folding import Fold, Folding, made_at_once
from rune_engine.jobs.judged_by import Asked, JudgedBy
from rune_engine.jobs.progress import Report
from rune_engine.jobs.steps import Steps
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.submission import check_evaluate
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import (
    NO_ADAPTER,
    EvaluatedTask,
    EvaluateParams,
    EvaluateResult,
    EvaluationSettings,
    Job,
)
from rune_engine.registry import AdapterRegistry, lifecycle
from rune_engine.sandbox.sandbox import Sandbox, runner_sha256
from rune_engine.trajectories import TrajectoryStore

_SAMPLING_TEMPERATURE = 0.8
_SCRIPTED = "scripted"
"""A script may have changed since, under the same name."""


class Evaluate:
    """Runs `evaluate` jobs."""

    def __init__(
        self,
        config: RuneConfig,
        database: Database,
        providers: ProviderPool,
        *,
        registry: AdapterRegistry,
        trajectories: TrajectoryStore,
        sandbox: Sandbox,
        jobs: JobStore,
        trainers: Trainers,
    ) -> None:
        self._config = config
        self._database = database
        self._providers = providers
        self._registry = registry
        self._trajectories = trajectories
        self._evaluations = EvaluationStore(database)
        self._chooser = Chooser(database, registry, trajectories)
        self._sandbox = sandbox
        self._jobs = jobs
        self._folding = Folding(config, trainers)
        self._judged_by = JudgedBy(config, self._chooser, self._folding, sandbox)

    async def prepare(self, job: Job, report: Report) -> None:
        """Make the adapters of a k-fold evaluation, while serving sleeps."""
        params = EvaluateParams.model_validate(job.params)
        adapter = await asyncio.to_thread(self._registry.retrieve_by_id, params.adapter_id)
        taught = await asyncio.to_thread(self._chooser.taught, adapter)
        made_by = await asyncio.to_thread(self._jobs.that_made, adapter.id)
        alike = made_at_once(adapter.id, made_by)
        await self._folding.make(job.id, params, taught, alike, report)

    async def __call__(self, job: Job, report: Report) -> EvaluateResult:
        params = EvaluateParams.model_validate(job.params)
        provider = self._providers.get(params.base_model)
        asked = await asyncio.to_thread(self._asked, params, provider)
        steps = self._jobs.steps(job)
        report(0.0, "choosing tasks")
        tasks = await self._judged_by.tasks(job.id, asked, steps)
        folds = await asyncio.to_thread(self._judged_by.folds, job.id, asked)
        sides = await self._measure(tasks, folds, asked, steps, report)
        tasks = [*tasks, *(task for fold in folds for task in fold.tasks)]
        result = self._result(job.id, asked, tasks, *sides)
        return await asyncio.to_thread(self._keep, job.id, asked, result)

    def _asked(self, params: EvaluateParams, provider: InferenceProvider) -> Asked:
        adapter = check_evaluate(params, provider.base_model_id, self._registry, self._trajectories)
        ref = None if adapter is None else self._registry.verified_ref(adapter.id)
        settings = self._settings(params, provider, ref)
        return Asked(params, adapter, ref, provider, settings)

    def _settings(
        self, params: EvaluateParams, provider: InferenceProvider, ref: AdapterRef | None
    ) -> EvaluationSettings:
        defaults, temperature = self._config.evaluation, params.temperature
        if temperature is None:
            temperature = 0.0 if params.samples == 1 else _SAMPLING_TEMPERATURE
        outside = params.out_of_domain_tasks
        if params.suite is not None or params.criterion != "tests":
            outside = 0
        return EvaluationSettings(
            criterion=params.criterion,
            suite=None if params.suite is None else _sha256(Path(params.suite)),
            named=params.trajectory_ids is not None,
            provider=provider.name,
            temperature=temperature,
            out_of_domain_tasks=defaults.out_of_domain_tasks if outside is None else outside,
            alpha=defaults.alpha,
            fewest_tasks=defaults.fewest_tasks,
            adapter_sha256=ref.sha256 if ref else "",
            rune_version=rune_engine.__version__,
            **params.model_dump(include={"samples", "seed", "max_tokens", "max_tasks", "folds"}),
        )

    # --- what becomes of them -------------------------------------------------------------------

    async def _measure(
        self,
        tasks: Sequence[HeldOutTask],
        folds: Sequence[Fold],
        asked: Asked,
        steps: Steps,
        report: Report,
    ) -> tuple[Mapping[str, Verdicts], Mapping[str, Verdicts]]:
        """Every task's verdicts, with the adapter (or its fold's) and without."""
        settings, done = asked.settings, 0
        sides: list[tuple[AdapterRef | None, Sequence[HeldOutTask]]]
        sides = [(None, [*tasks, *(task for fold in folds for task in fold.tasks)])]
        if asked.ref is not None:
            sides += [(asked.ref, tasks), *((fold.ref, fold.tasks) for fold in folds)]
        all_of_it = sum(len(each) for _, each in sides)

        def one_more() -> None:
            nonlocal done
            done += 1
            report(done / all_of_it, f"{done} of {all_of_it} tasks, on either side")

        found = await together(
            [
                measure(
                    put,
                    side,
                    provider=asked.provider,
                    sandbox=self._sandbox,
                    samples=settings.samples,
                    temperature=settings.temperature,
                    seed=settings.seed,
                    max_tokens=settings.max_tokens,
                    at_once=self._config.evaluation.at_once,
                    keep=steps,
                    remember=self._remembered(asked, steps) if side is None else None,
                    on_task=one_more,
                )
                for side, put in sides
            ]
        )
        return {task: verdicts for each in found[1:] for task, verdicts in each.items()}, found[0]

    def _remembered(self, asked: Asked, steps: Steps) -> Keep | None:
        if asked.provider.name == _SCRIPTED:
            return None
        serving = self._config.serving.model_dump_json()
        run_as = f"{asked.provider.name} {serving} {runner_sha256()}"
        return Remembered(self._database, steps, run_as)

    def _result(
        self,
        job_id: str,
        asked: Asked,
        tasks: Sequence[HeldOutTask],
        with_adapter: Mapping[str, Verdicts],
        with_base: Mapping[str, Verdicts],
    ) -> EvaluateResult:
        per_task = [
            EvaluatedTask(
                task=each.task,
                group=each.group,
                trajectory_id=each.trajectory_id,
                with_adapter=with_adapter.get(each.task, []),
                with_base=with_base[each.task],
            )
            for each in {each.task: each for each in tasks}.values()
        ]
        settings = asked.settings
        weighing = Weighing(settings.alpha, settings.fewest_tasks)
        return EvaluateResult(
            evaluation_id=job_id,
            adapter_id=asked.adapter.id if asked.adapter else NO_ADAPTER,
            base_model_id=asked.provider.base_model_id,
            samples_per_task=settings.samples,
            settings=settings,
            created_at=utc_now(),
            per_task=per_task,
            **conclude(per_task, weighing, asked.params.pass_at, no_fitness(settings)),
        )

    def _keep(self, job_id: str, asked: Asked, result: EvaluateResult) -> EvaluateResult:
        """Write it down, once, and the adapter's fitness where there is one.

        Too little for a fitness leaves one that there is as it was; where there was none, the pass
        rate is written down without.
        """
        adapter = asked.adapter
        measured = result.pass_rate is not None and no_fitness(asked.settings) is None
        with self._evaluations.writing() as session:
            if known := self._evaluations.find(session, result.evaluation_id):
                return known
            project_id = adapter.project_id if adapter else None
            self._evaluations.add(session, result, project_id=project_id, caused_by=job_id)
            if adapter is None or not measured:
                return result
            if result.evaluated or lifecycle.get(session, adapter.id).fitness_score is None:
                lifecycle.measure(
                    session,
                    adapter.id,
                    pass_rate=result.pass_rate,
                    fitness_score=result.fitness,
                    tasks=result.tasks - result.undecided,
                    out_of_domain_tasks=result.out_of_domain_tasks - result.out_of_domain_undecided,
                    samples_per_task=result.samples_per_task,
                    caused_by=job_id,
                )
        return result


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
