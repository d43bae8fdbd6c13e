"""The adapters of `merging_quality`: halves, every merge of them, both halves distilled together.

Each is made by the jobs that the engine would hand to its trainer, carried out in this process so
that their start costs nothing; it lies in a folder that follows from all that it is made of, and
what lies there is not made again. Knows nothing of how adapters are asked.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rune_engine.experiments.base import Base
from rune_engine.experiments.cache import key_of
from rune_engine.experiments.recording import Taught
from rune_engine.inference.provider import AdapterRef
from rune_engine.models import DistillMethod, TrainerJob, Trajectory
from rune_engine.models.merging import MergeJob
from trainers.__main__ import Job, carry_out

HALVES = ("A", "B")
KINDS: dict[str, DistillMethod] = {
    "hypernetwork": "hypernetwork",
    "closed form": "closed_form",
    "direct": "lora",
}
"""How the parents are made."""
TOGETHER = {"hypernetwork": "hypernetwork", "closed form": "statistics", "direct": "train"}
"""The joint method that is the same on both halves."""


@dataclass(frozen=True, slots=True)
class Way:
    """A merge of two parents' weights."""

    name: str
    method: str
    density: float = 1.0
    weights: tuple[float, float] = (0.5, 0.5)
    as_parents: bool = False


WAYS = (
    Way("average", "linear"),
    Way("average, at a parent's rank", "linear", as_parents=True),
    Way("sum", "linear", weights=(1.0, 1.0)),
    Way("TIES, density 0.2", "ties", 0.2),
    Way("TIES, density 0.5", "ties", 0.5),
    Way("TIES, density 1", "ties", 1.0),
    Way("TIES, density 0.5, twice as strong", "ties", 0.5, (1.0, 1.0)),
    Way("DARE, density 0.5", "dare_linear", 0.5),
    Way("DARE-TIES, density 0.5", "dare_ties", 0.5),
    Way("DARE-TIES, density 0.5, twice as strong", "dare_ties", 0.5, (1.0, 1.0)),
)


@dataclass(frozen=True, slots=True)
class Made:
    """An adapter, and what its trainer said."""

    ref: AdapterRef
    result: Mapping[str, Any]


class Workshop:
    """Makes the adapters of one run."""

    def __init__(self, base: Base, work: Path, seed: int, threads: int) -> None:
        self._base = base
        self._folder = work / "adapters"
        self._statistics = work / "statistics"
        self._seed = seed
        self._threads = threads

    def parent(self, kind: str, taught: Taught, half: str) -> Made:
        """The adapter of every other one of a project's sessions."""
        return self._made(KINDS[kind], taught, half_of(taught, half))

    def merged(self, way: Way, taught: Taught, parents: Sequence[Made]) -> Made:
        """The parents' weights merged."""
        rank = int(parents[0].result["rank"]) if way.as_parents else None
        settings = {
            "method": way.method,
            "density": way.density,
            "weights": list(way.weights),
            "rank": rank,
        }
        return self._merge(taught, parents, settings)

    def together(self, kind: str, taught: Taught, parents: Sequence[Made]) -> Made:
        """What both halves teach, distilled at once from what was kept of them."""
        return self._merge(taught, parents, {"method": TOGETHER[kind]}, taught.trajectories)

    def _made(
        self, method: DistillMethod, taught: Taught, trajectories: Sequence[Trajectory]
    ) -> Made:
        told = [each.content_hash for each in trajectories]
        folder = self._place(taught, method, told)
        job = {
            "job_id": "parent",
            "method": method,
            "project_id": taught.subject.name,
            "base_model_id": self._base.id,
            "base_model_path": str(self._base.path),
            "output_path": str(folder / "output"),
            "statistics_path": str(self._statistics),
            "trajectories_path": str(_lines(folder, trajectories)),
            "seed": self._seed,
            "threads": self._threads,
        }
        return self._carry_out(TrainerJob.model_validate(job), folder)

    def _merge(
        self,
        taught: Taught,
        parents: Sequence[Made],
        settings: Mapping[str, Any],
        trajectories: Sequence[Trajectory] = (),
    ) -> Made:
        folder = self._place(taught, [parent.ref.sha256 for parent in parents], settings)
        job = {
            "job_id": "merge",
            "adapter_id": folder.name,
            "parents": [
                {"id": p.ref.id, "path": str(p.ref.path), "base_model_id": p.ref.base_model_id}
                for p in parents
            ],
            "output_path": str(folder / "output"),
            "base_model_path": str(self._base.path),
            "trajectories_path": str(_lines(folder, trajectories)),
            "statistics_path": str(self._statistics),
            "seed": self._seed,
            "threads": self._threads,
            **settings,
        }
        return self._carry_out(MergeJob.model_validate(job), folder)

    def _place(self, taught: Taught, *made_of: Any) -> Path:
        base = [self._base.sha256, sorted(self._base.recipes.items())]
        key = key_of(base, taught.subject.name, made_of, self._seed)
        return self._folder / f"{taught.subject.name[:40]}-{key[:12]}"

    def _carry_out(self, job: Job, folder: Path) -> Made:
        mark = folder / "made.json"
        if not mark.is_file():
            shutil.rmtree(folder / "output", ignore_errors=True)
            (folder / "output").mkdir()
            result = carry_out(job, lambda _done, _what: None)
            mark.write_text(result.model_dump_json(), encoding="utf-8")
        data = (folder / "output" / "adapter_model.safetensors").read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        ref = AdapterRef(folder.name, folder / "output", sha256, self._base.id)
        return Made(ref, json.loads(mark.read_text(encoding="utf-8")))


def half_of(taught: Taught, half: str) -> tuple[Trajectory, ...]:
    """Every other session: the first ones of a project show each of its operations once."""
    return taught.trajectories[HALVES.index(half) :: 2]


def _lines(folder: Path, trajectories: Sequence[Trajectory]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trajectories.jsonl"
    file.write_text("".join(f"{each.model_dump_json()}\n" for each in trajectories), "utf-8")
    return file
