"""What one evaluation is asked, and by which tasks it judges. Asks no model."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path

from rune_engine.config import RuneConfig
from rune_engine.evaluation.choosing import Chooser, Workspaces, suite_tasks
from rune_engine.evaluation.out_of_domain import generated_tasks
from rune_engine.evaluation.predicting import predictions
from rune_engine.evaluation.tasks import HeldOutTask
from rune_engine.inference.provider import AdapterRef, InferenceProvider
from rune_engine.jobs.folding import Fold, Folding
from rune_engine.jobs.steps import Steps
from rune_engine.models import AdapterInfo, EvaluateParams, EvaluationSettings
from rune_engine.sandbox.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Asked:
    """One job's subject and settings; without an adapter it is of the base model alone."""

    params: EvaluateParams
    adapter: AdapterInfo | None
    ref: AdapterRef | None
    provider: InferenceProvider
    settings: EvaluationSettings


class JudgedBy:
    """Finds the tasks; what takes long, or could come out otherwise later, is a step."""

    def __init__(
        self,
        config: RuneConfig,
        chooser: Chooser,
        folding: Folding,
        sandbox: Sandbox,
    ) -> None:
        self._config = config
        self._chooser = chooser
        self._folding = folding
        self._sandbox = sandbox

    async def tasks(self, job_id: str, asked: Asked, steps: Steps) -> list[HeldOutTask]:
        """Every task but those of folds.

        Raises:
            InvalidInputError: the suite cannot be read.
        """
        params = asked.params
        if params.suite is not None:
            return await asyncio.to_thread(suite_tasks, params)
        assert asked.adapter is not None
        if params.criterion == "pbb":
            return await self._predictions(asked, steps)
        chosen = await steps.run("tasks", lambda: asyncio.to_thread(self._choose, asked))
        held_out = await asyncio.to_thread(
            lambda: [
                *self._chooser.tasks(chosen["held_out"], "held_out", self._workspaces(params)),
                *self._chooser.tasks(
                    chosen["elsewhere"], "out_of_domain", self._chooser.last_workspace
                ),
            ]
        )
        worlds = self._config.jobs_path / job_id / "worlds"
        return [*held_out, *generated_tasks(chosen["generated"], worlds)]

    def _choose(self, asked: Asked) -> dict[str, object]:
        """Ids of trajectories, and how many tasks are generated: outside the adapter's domain half
        are other projects' own, as far as there are any."""
        params, adapter, outside = asked.params, asked.adapter, asked.settings.out_of_domain_tasks
        assert adapter is not None
        if params.trajectory_ids is not None:
            held_out = self._chooser.named(params.trajectory_ids, params.max_tasks)
        else:
            held_out = self._chooser.held_out(adapter, params.max_tasks)
        elsewhere = self._chooser.elsewhere(adapter, outside // 2)
        generated = outside - len(elsewhere)
        return {"held_out": held_out, "elsewhere": elsewhere, "generated": generated}

    async def _predictions(self, asked: Asked, steps: Steps) -> list[HeldOutTask]:
        assert asked.adapter is not None
        adapter, params = asked.adapter, asked.params

        async def find() -> list[dict[str, object]]:
            taught = await asyncio.to_thread(self._chooser.taught, adapter)
            workspace = self._workspaces(params)(adapter.project_id)
            found = await predictions(taught, self._sandbox, workspace=workspace, seed=params.seed)
            return [asdict(task) for task in found[: params.max_tasks]]

        return [HeldOutTask(**fields) for fields in await steps.run("predictions", find)]

    def _workspaces(self, params: EvaluateParams) -> Workspaces:
        if params.workspace is None:
            return self._chooser.last_workspace
        workspace = Path(params.workspace)
        return lambda _project_id: workspace

    def folds(self, job_id: str, asked: Asked) -> list[Fold]:
        """The adapters of a k-fold evaluation, once they are made."""
        params, adapter = asked.params, asked.adapter
        if params.folds is None or adapter is None:
            return []
        taught = self._chooser.taught(adapter)
        workspaces = self._workspaces(params)
        return self._folding.made(job_id, params, taught, workspaces, adapter.base_model_id)
