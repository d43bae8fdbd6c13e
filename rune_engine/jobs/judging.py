"""Puts held-out tasks to the model with several adapters, which need not be registered.

Every verdict is a step of the job that asks, so one that was interrupted goes on where it was. What
was found can become an evaluation's row. Knows nothing of what is decided by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.database import utc_now
from rune_engine.errors import TrajectoryNotFoundError
from rune_engine.evaluation.conclusion import Weighing, conclude, rate
from rune_engine.evaluation.measuring import Verdicts, measure
from rune_engine.evaluation.tasks import HeldOutTask, distinct, task_of
from rune_engine.inference.factory import ProviderPool
from rune_engine.inference.provider import AdapterRef
from rune_engine.jobs.lease import AcceleratorLease
from rune_engine.jobs.progress import Report
from rune_engine.jobs.store import JobStore
from rune_engine.models import EvaluatedTask, EvaluateResult, EvaluationSettings, Job
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore


@dataclass(frozen=True, slots=True)
class Asked:
    """How tasks are put to the model, greedily."""

    base_model: str | None = None
    seed: int = 0
    max_tokens: int = 512


class Judging:
    """What measures candidates in one engine."""

    def __init__(
        self,
        config: RuneConfig,
        *,
        providers: ProviderPool,
        trajectories: TrajectoryStore,
        sandbox: Sandbox,
        jobs: JobStore,
        lease: AcceleratorLease,
    ) -> None:
        self._settings = config.evaluation
        self._providers = providers
        self._trajectories = trajectories
        self._sandbox = sandbox
        self._jobs = jobs
        self._lease = lease

    def base_model_id(self, base_model: str | None = None) -> str:
        """The id of the base model that would be asked.

        Raises:
            BaseModelNotFoundError: there is none of that name.
        """
        return self._providers.get(base_model).base_model_id

    def tasks(self, trajectory_ids: Sequence[str]) -> list[HeldOutTask]:
        """The tasks of those trajectories that are still stored, each once."""
        found = []
        for each in trajectory_ids:
            with suppress(TrajectoryNotFoundError):
                trajectory = self._trajectories.get(each)
                workspace = self._trajectories.last_workspace(trajectory.project_id)
                found.append(task_of(trajectory, workspace))
        return distinct(found)

    async def verdicts(
        self,
        job: Job,
        tasks: Sequence[HeldOutTask],
        sides: Sequence[AdapterRef | None],
        asked: Asked,
        report: Report,
    ) -> list[dict[str, Verdicts]]:
        """Every task's verdicts, by task, for each side in turn; None is the base model alone."""
        async with self._lease.serving(report, asked.base_model):
            provider = self._providers.get(asked.base_model)
            found = []
            for number, side in enumerate(sides):
                report(number / len(sides), f"measuring {number + 1} of {len(sides)}")
                found.append(
                    await measure(
                        tasks,
                        side,
                        provider=provider,
                        sandbox=self._sandbox,
                        seed=asked.seed,
                        max_tokens=asked.max_tokens,
                        at_once=self._settings.at_once,
                        keep=self._jobs.steps(job),
                    )
                )
            return found

    async def tasks_of(self, trajectory_ids: Sequence[str]) -> list[HeldOutTask]:
        """`tasks`, on a thread."""
        return await asyncio.to_thread(self.tasks, trajectory_ids)

    def row(
        self,
        adapter_id: str,
        adapter: AdapterRef,
        tasks: Sequence[HeldOutTask],
        verdicts: Mapping[str, Verdicts],
        base: Mapping[str, Verdicts],
        asked: Asked,
        *,
        evaluation_id: str,
    ) -> EvaluateResult:
        """What was found of a candidate, as the row that it gets when it is stored."""
        per_task = [
            EvaluatedTask(
                task=each.task,
                group=each.group,
                trajectory_id=each.trajectory_id,
                with_adapter=verdicts[each.task],
                with_base=base[each.task],
            )
            for each in tasks
        ]
        settings = EvaluationSettings(
            provider=self._providers.get(asked.base_model).name,
            seed=asked.seed,
            max_tokens=asked.max_tokens,
            max_tasks=max(1, len(tasks)),
            alpha=self._settings.alpha,
            fewest_tasks=self._settings.fewest_tasks,
            adapter_sha256=adapter.sha256,
            rune_version=rune_engine.__version__,
        )
        return EvaluateResult(
            evaluation_id=evaluation_id,
            adapter_id=adapter_id,
            base_model_id=adapter.base_model_id,
            settings=settings,
            created_at=utc_now(),
            per_task=per_task,
            **conclude(per_task, Weighing(settings.alpha, settings.fewest_tasks)),
        )


def scores(verdicts: Mapping[str, Verdicts]) -> dict[str, float]:
    """Each task's score; a task without any verdict has none."""
    found = {task: rate(each) for task, each in verdicts.items()}
    return {task: score for task, score in found.items() if score is not None}
