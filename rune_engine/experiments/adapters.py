"""Adapters of a run: made by trainers in processes of their own, timed, kept in the work folder.

An adapter's folder follows from all that it is made of; what is there is not made again. Each is
made from nothing: a closed form reads every trajectory, whatever another one has read before.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.durable import write_file
from rune_engine.errors import (
    DeviceMemoryError,
    MissingExtraError,
    RuneError,
    TrainerDiedError,
    TrainingError,
)
from rune_engine.experiments import weights
from rune_engine.experiments.base import CLOSED_FORM, DIRECT, HYPERNETWORK, Base
from rune_engine.experiments.cache import key_of
from rune_engine.experiments.recording import read_trajectories
from rune_engine.inference.provider import AdapterRef
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import TrainerJob, TrainerResult, Trajectory
from rune_engine.statistic_files import KNOWN, folder_of

METHODS = (CLOSED_FORM, DIRECT, HYPERNETWORK)
_ASKED = {DIRECT: "lora", CLOSED_FORM: "closed_form", HYPERNETWORK: "hypernetwork"}
"""What a trainer's job calls each method."""


@dataclass(frozen=True, slots=True)
class Made:
    """An adapter and what making it took.

    Attributes:
        result: what its trainer said; its `seconds` leave out the start of the process.
        wall_seconds, cpu_seconds: of the whole process.
        folder: holds `trajectories.jsonl`, all that it was made of.
    """

    ref: AdapterRef
    method: str
    result: TrainerResult
    wall_seconds: float
    cpu_seconds: float
    folder: Path

    def learnt_from(self) -> tuple[Trajectory, ...]:
        """The trajectories that its trainer was given."""
        return read_trajectories(self.folder / "trajectories.jsonl")


class Workshop:
    """Makes adapters for one base model, one at a time, so that each is timed alone."""

    def __init__(
        self, base: Base, work: Path, trainers: Trainers, config: RuneConfig, seed: int
    ) -> None:
        self._base = base
        self._folder = work / "adapters"
        self._known = work / "known"
        self._trainers = trainers
        self._config = config
        self._seed = seed
        self._warm: set[str] = set()

    async def make(
        self,
        method: str,
        name: str,
        trajectories: Sequence[Trajectory],
        *,
        rank: int | None = None,
    ) -> Made:
        """An adapter of `method`, one of METHODS, that is called `name`.

        Raises:
            RuneError: what its trainer reports.
        """
        await self._warm_up(method, trajectories)
        told = [trajectory.model_dump(mode="json") for trajectory in trajectories]
        key = key_of(*self._made_with(method), method, told, rank, self._seed)
        folder = self._folder / f"{method}-{name}-{key[:12]}"
        if not (folder / "made.json").is_file():
            await self._train(method, name, trajectories, rank, folder)
        said = json.loads((folder / "made.json").read_text(encoding="utf-8"))
        ref = AdapterRef(f"{method}-{name}", folder / "output", said["sha256"], self._base.id)
        result = TrainerResult.model_validate(said["result"])
        return Made(ref, method, result, said["wall_seconds"], said["cpu_seconds"], folder)

    def write(self, update: weights.Update, name: str) -> AdapterRef:
        """An adapter that no trainer made."""
        return weights.write(update, self._folder / name, name, self._base.id)

    async def _warm_up(self, method: str, trajectories: Sequence[Trajectory]) -> None:
        """Measure what the base model knows, once and not in an adapter's time."""
        if method == DIRECT or method in self._warm:
            return
        folder = self._known_by(method)
        if not (folder / "done").is_file():
            await self._run(method, "known", trajectories[:1], None, folder)
            write_file(folder / "done", "")
        self._warm.add(method)

    def _known_by(self, method: str) -> Path:
        return self._known / f"{method}-{key_of(*self._made_with(method))[:12]}"

    def _made_with(self, method: str) -> tuple[str, str, str]:
        base = self._base
        return rune_engine.__version__, base.sha256, base.recipes.get(method, "")

    async def _train(
        self,
        method: str,
        name: str,
        trajectories: Sequence[Trajectory],
        rank: int | None,
        folder: Path,
    ) -> None:
        began, spent = time.monotonic(), _children_seconds()
        result = await self._run(method, name, trajectories, rank, folder)
        data = (folder / "output" / "adapter_model.safetensors").read_bytes()
        said = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "result": result.model_dump(mode="json"),
            "wall_seconds": time.monotonic() - began,
            "cpu_seconds": _children_seconds() - spent,
        }
        write_file(folder / "made.json", json.dumps(said))

    async def _run(
        self,
        method: str,
        name: str,
        trajectories: Sequence[Trajectory],
        rank: int | None,
        folder: Path,
    ) -> TrainerResult:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "output").mkdir(parents=True)
        lines = [f"{trajectory.model_dump_json()}\n" for trajectory in trajectories]
        (folder / "trajectories.jsonl").write_text("".join(lines), encoding="utf-8")
        self._lend_known(method, folder / "statistics")
        job = TrainerJob.model_validate(
            {
                "job_id": f"gate-{method}",
                "method": _ASKED[method],
                "project_id": name,
                "base_model_id": self._base.id,
                "base_model_path": str(self._base.path),
                "trajectories_path": str(folder / "trajectories.jsonl"),
                "output_path": str(folder / "output"),
                "statistics_path": str(folder / "statistics"),
                "memory_limit_bytes": self._config.training_memory_bytes,
                "threads": self._config.model_threads,
                "rank": rank,
                "seed": self._seed,
            }
        )
        return await self._trainers.train(job, folder, lambda _fraction, _message: None)

    def _lend_known(self, method: str, statistics: Path) -> None:
        """What the warm-up has measured; nothing of any trajectory."""
        known = folder_of(self._known_by(method) / "statistics", self._base.id) / KNOWN
        if known.is_file():
            lent = folder_of(statistics, self._base.id)
            lent.mkdir(parents=True)
            shutil.copyfile(known, lent / KNOWN)


def refused(error: RuneError) -> bool:
    """Whether a base model, or this machine, cannot do with a method; else it is a failure."""
    kinds = (TrainingError, DeviceMemoryError, MissingExtraError)
    return isinstance(error, kinds) and not isinstance(error, TrainerDiedError)


def _children_seconds() -> float:
    """Processor seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figures_of(made: Sequence[Made]) -> dict[str, Any]:
    """What was measured of each adapter, JSON-ready."""
    return {
        each.ref.id: {
            **each.result.model_dump(mode="json"),
            "wall_seconds": each.wall_seconds,
            "cpu_seconds": each.cpu_seconds,
            "sha256": each.ref.sha256,
        }
        for each in made
    }
