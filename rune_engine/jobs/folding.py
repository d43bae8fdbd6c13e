"""K-fold evaluation: adapters made as one was, each without a part of what that was taught.

For a project that has too few tasks to keep many back: each task that the adapter was taught is put
to an adapter that was made without it, and without all that is nearly the same. These adapters are
made at once, by the base model's way that trains nothing; nobody registers them, and they go with
the job's folder. Tasks are parted, never attempts.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from base_models import BaseModelFolder
from rune_engine.config import RuneConfig
from rune_engine.errors import InvalidInputError
from rune_engine.evaluation.choosing import Workspaces
from rune_engine.evaluation.near import folds
from rune_engine.evaluation.tasks import HeldOutTask, distinct, task_of
from rune_engine.inference.provider import AdapterRef
from rune_engine.jobs.progress import Report
from rune_engine.jobs.trainer import Trainers
from rune_engine.model_store.resolve import resolve_trainable
from rune_engine.models import (
    FAST_METHODS,
    DistillParams,
    DistillResult,
    EvaluateParams,
    Job,
    TrainerJob,
    Trajectory,
)

_WEIGHTS = "adapter_model.safetensors"
_DONE = "done"


@dataclass(frozen=True, slots=True)
class Fold:
    """An adapter, and the tasks that it was made without."""

    ref: AdapterRef
    tasks: tuple[HeldOutTask, ...]


class Folding:
    """Makes and finds the adapters of one home's k-fold evaluations."""

    def __init__(self, config: RuneConfig, trainers: Trainers) -> None:
        self._config = config
        self._trainers = trainers

    async def make(
        self,
        job_id: str,
        params: EvaluateParams,
        taught: Sequence[Trajectory],
        alike: DistillParams,
        report: Report,
    ) -> None:
        """Make the adapters that an interrupted attempt has not made yet.

        Args:
            alike: how the adapter itself was made.

        Raises:
            InvalidInputError: there are too few tasks.
            RuneError: the trainer's own error.
        """
        model = resolve_trainable(params.base_model or self._config.base_model, self._config)
        parts = _parts(params, taught)
        for number, part in enumerate(parts):
            folder = self._folder(job_id, number)
            if (folder / _DONE).exists():
                continue
            report(0.0, f"making adapter {number + 1} of {len(parts)}")
            left = [each for index, each in enumerate(taught) if index not in set(part)]
            asked = await asyncio.to_thread(self._lay_out, job_id, folder, model, left, alike)
            await self._trainers.train(asked, folder, lambda _done, _what: None)
            (folder / _DONE).touch()

    def made(
        self,
        job_id: str,
        params: EvaluateParams,
        taught: Sequence[Trajectory],
        workspace_of: Workspaces,
        base_model_id: str,
    ) -> list[Fold]:
        """The adapters that `make` left, each with the tasks to judge it by."""
        found = []
        for number, part in enumerate(_parts(params, taught)):
            output = self._folder(job_id, number) / "output"
            sha256 = hashlib.sha256((output / _WEIGHTS).read_bytes()).hexdigest()
            tasks = (task_of(taught[i], workspace_of(taught[i].project_id)) for i in part)
            ref = AdapterRef(f"{job_id}-fold-{number}", output, sha256, base_model_id)
            found.append(Fold(ref, tuple(distinct(tasks))))
        return found

    def _folder(self, job_id: str, number: int) -> Path:
        return self._config.jobs_path / job_id / f"fold-{number}"

    def _lay_out(
        self,
        job_id: str,
        folder: Path,
        model: BaseModelFolder,
        left: Sequence[Trajectory],
        alike: DistillParams,
    ) -> TrainerJob:
        output = folder / "output"
        output.mkdir(parents=True, exist_ok=True)
        trajectories = folder / "trajectories.jsonl"
        trajectories.write_text("".join(f"{t.model_dump_json()}\n" for t in left), encoding="utf-8")
        return TrainerJob(
            job_id=job_id,
            project_id=left[0].project_id,
            base_model_id=model.id,
            base_model_path=str(model.path),
            trajectories_path=str(trajectories),
            output_path=str(output),
            method=alike.method,
            rank=alike.rank,
            memory_limit_bytes=self._config.training_memory_bytes,
            seed=alike.seed,
            threads=self._config.model_threads,
            checkpoint_path=str(folder / "checkpoints"),
            statistics_path=str(self._config.statistics_path),
        )


def made_at_once(adapter_id: str, made_by: Job | None) -> DistillParams:
    """How an adapter was made, where that trained nothing.

    Raises:
        InvalidInputError: it was trained, or nobody knows how it was made: adapters that are made
            at once would not stand for it.
    """
    if made_by is not None and made_by.result is not None:
        method = DistillResult.model_validate(made_by.result).method
        if method in FAST_METHODS:
            params = DistillParams.model_validate(made_by.params)
            return params.model_copy(update={"method": method})
    raise InvalidInputError(
        f"Adapter {adapter_id} was not made by a way that trains nothing, so none that is made at "
        "once stands for it.",
        next_step="Leave folds out, and keep some tasks back.",
    )


def _parts(params: EvaluateParams, taught: Sequence[Trajectory]) -> list[list[int]]:
    assert params.folds is not None
    parts = folds([each.task_description for each in taught], params.folds, params.seed)
    if len(parts) < 2:
        raise InvalidInputError(
            f"{len(taught)} trajectories of one task cannot be parted.",
            next_step="Leave --folds out, or record other tasks first.",
        )
    return parts
