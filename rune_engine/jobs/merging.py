"""Several adapters become one candidate, or are compared: a trainer's subprocess, and its answer.

Registers nothing. A merge that was interrupted starts anew in the same folder, and one that was
done is not done again. Knows nothing of how merging works.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from base_models import BaseModelFolder
from rune_engine.config import RuneConfig
from rune_engine.errors import (
    AdapterBaseModelMismatchError,
    BaseModelNotFoundError,
    MergeRefusedError,
    TrajectoryNotFoundError,
)
from rune_engine.home import not_writable
from rune_engine.jobs import candidates
from rune_engine.jobs.candidates import Candidate
from rune_engine.jobs.methods import check_method, fast_method
from rune_engine.jobs.progress import Report
from rune_engine.jobs.trainer import Trainers
from rune_engine.model_store.resolve import resolve_trainable
from rune_engine.models import AdapterInfo, DistillParams, LearntRole, MergeMethod, Trajectory
from rune_engine.models.merging import (
    JOINT_METHODS,
    AdapterFolder,
    CompareJob,
    MergeJob,
    MergeResult,
    MergeSettings,
    Similarity,
)
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

OF_WEIGHTS: MergeMethod = "linear"
"""What "auto" means where what the parents learnt from is gone; see docs/assessments/merging.md."""


class Merging:
    """Merges and compares adapters of the registry."""

    def __init__(
        self,
        config: RuneConfig,
        registry: AdapterRegistry,
        trajectories: TrajectoryStore,
        trainers: Trainers,
    ) -> None:
        self._config = config
        self._registry = registry
        self._trajectories = trajectories
        self._trainers = trainers

    async def merge(
        self,
        job_id: str,
        parents: Sequence[AdapterInfo],
        settings: MergeSettings,
        folder: Path,
        report: Report,
        *,
        leave_out: Collection[str] = (),
        polite: bool = False,
    ) -> Candidate:
        """Make one adapter of the parents, in `folder`, which is this merge's alone.

        Args:
            leave_out: trajectories that a joint method does not learn from, such as those that the
                candidate will be judged by. The parents' weights have learnt what they have.

        Raises:
            MergeRefusedError: there are fewer than two parents, or they cannot become one.
            AdapterBaseModelMismatchError: they, or the base model, are not of one base model.
            AdapterForgottenError: what a parent learnt from was forgotten.
            AdapterCorruptedError: a parent's files are not what was stored.
            BaseModelNotFoundError: a joint method's base model is not here.
            InvalidInputError: it has no hypernetwork, or that was asked for a rank.
            TrainingError: the trainer failed, see `Trainers.carry_out`.
        """
        done = await asyncio.to_thread(candidates.kept, folder)
        if done is None:
            job, roles = await asyncio.to_thread(
                self._prepare, job_id, parents, settings, folder, leave_out
            )
            result = await self._trainers.carry_out(job, MergeResult, folder, report, polite=polite)
            done = await asyncio.to_thread(candidates.keep, folder, job, result, roles)
        return done

    async def compare(
        self,
        job_id: str,
        adapters: Sequence[AdapterInfo],
        folder: Path,
        report: Report = lambda _done, _what: None,
    ) -> Similarity:
        """Norms of the adapters' updates and the cosines between them, in the adapters' order.

        Raises:
            AdapterForgottenError, AdapterCorruptedError: one cannot be used.
            MergeRefusedError: one is a DoRA.
            TrainingError: the trainer failed, see `Trainers.carry_out`.
        """
        folders = await asyncio.to_thread(self._folders, adapters)
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        job = CompareJob(job_id=job_id, adapters=folders, threads=self._config.model_threads)
        return await self._trainers.carry_out(job, Similarity, folder, report)

    # --- preparing -----------------------------------------------------------------------------

    def _folders(self, adapters: Sequence[AdapterInfo]) -> list[AdapterFolder]:
        refs = [self._registry.verified_ref(adapter.id) for adapter in adapters]
        return [
            AdapterFolder(id=ref.id, path=str(ref.path), base_model_id=ref.base_model_id)
            for ref in refs
        ]

    def _prepare(
        self,
        job_id: str,
        parents: Sequence[AdapterInfo],
        settings: MergeSettings,
        folder: Path,
        leave_out: Collection[str],
    ) -> tuple[MergeJob, dict[str, LearntRole]]:
        check_parents(parents)
        folders = self._folders(parents)
        learnt = [self._registry.learnt_from(parent.id) for parent in parents]
        roles = _together(learnt)
        # Of a parent from elsewhere nobody knows what it learnt.
        known = all("trained" in each.values() for each in learnt)
        taught = self._taught(roles, leave_out) if known else None
        base = self._base_model(parents[0].base_model_id, settings)
        method = settings.method
        if method == "auto":
            method = _automatic(settings, base, taught)
        given = {
            "job_id": job_id,
            "adapter_id": _adapter_id(job_id),
            "parents": folders,
            "method": method,
            "output_path": str(folder / "output"),
            "threads": self._config.model_threads,
            **settings.model_dump(exclude={"method", "base_model"}),
        }
        if method in JOINT_METHODS:
            roles |= dict.fromkeys(leave_out, "kept_back")
            asked = DistillParams(
                project_id=parents[0].project_id,
                method=JOINT_METHODS[method],
                rank=settings.rank,
            )
            given |= self._joint(asked, base, taught, folder)
        _lay_out(folder, taught if method in JOINT_METHODS else None)
        return MergeJob.model_validate(given), roles

    def _taught(
        self, roles: dict[str, LearntRole], leave_out: Collection[str]
    ) -> list[Trajectory] | None:
        """The trajectories that the parents were trained on; None where some are not known."""
        wanted = [key for key, role in roles.items() if role == "trained" and key not in leave_out]
        try:
            return [self._trajectories.get(key) for key in sorted(wanted)] or None
        except TrajectoryNotFoundError:
            return None

    def _base_model(self, base_model_id: str, settings: MergeSettings) -> BaseModelFolder | None:
        """The parents' base model; None where it is not here, or none was named and it is another.

        Raises:
            AdapterBaseModelMismatchError: one was named, and it is not the parents'.
            BaseModelNotFoundError: one was named, and it is not here.
        """
        try:
            found = resolve_trainable(settings.base_model or self._config.base_model, self._config)
        except BaseModelNotFoundError:
            if settings.base_model is not None:
                raise
            return None
        if found.id == base_model_id:
            return found
        if settings.base_model is not None:
            raise AdapterBaseModelMismatchError(
                f"These adapters were made for the base model {base_model_id!r}, not for "
                f"{found.id!r}.",
                next_step="Name their own base model.",
            )
        return None

    def _joint(
        self,
        asked: DistillParams,
        base: BaseModelFolder | None,
        taught: list[Trajectory] | None,
        folder: Path,
    ) -> dict[str, object]:
        """What a joint method's job has besides.

        Raises:
            MergeRefusedError: what the parents learnt from is not there.
            BaseModelNotFoundError: nor is their base model.
            InvalidInputError: it lacks the method, or the method what was asked of it.
        """
        if taught is None:
            raise MergeRefusedError(
                "Some of what these adapters learnt from is not known any more.",
                next_step="Merge their weights: linear, ties, dare_linear or dare_ties.",
            )
        if base is None:
            raise BaseModelNotFoundError(
                "These adapters' base model is not the one in use.",
                next_step="Name it, or merge their weights alone.",
            )
        check_method(asked, base)
        return {
            "project_id": asked.project_id,
            "base_model_path": str(base.path),
            "trajectories_path": str(folder / "trajectories.jsonl"),
            "statistics_path": str(self._config.statistics_path),
            "tracking_path": str(self._config.tracking_path),
            "checkpoint_path": str(folder / "checkpoints"),
            "checkpoint_seconds": self._config.checkpoint_seconds,
            "memory_limit_bytes": self._config.training_memory_bytes,
        }


def check_parents(parents: Sequence[AdapterInfo]) -> None:
    """Refuse what their rows tell already; the trainer looks at their weights.

    Raises:
        MergeRefusedError: there are fewer than two different ones.
        AdapterBaseModelMismatchError: they were made for different base models.
    """
    if len({parent.id for parent in parents}) < max(2, len(parents)):
        raise MergeRefusedError(
            f"A merge needs two different adapters or more; got {[p.id for p in parents]}.",
            next_step="Name two adapters of one base model.",
        )
    bases = sorted({parent.base_model_id for parent in parents})
    if len(bases) > 1:
        raise AdapterBaseModelMismatchError(
            f"These adapters were made for different base models: {', '.join(bases)}.",
            next_step="Merge adapters of one base model.",
        )


def _together(learnt: Sequence[Mapping[str, LearntRole]]) -> dict[str, LearntRole]:
    """What any parent was trained on, and what others kept back."""
    roles: dict[str, LearntRole] = {}
    for each in learnt:
        roles |= {key: role for key, role in each.items() if roles.get(key) != "trained"}
    return roles


def _automatic(
    settings: MergeSettings, base: BaseModelFolder | None, taught: list[Trajectory] | None
) -> MergeMethod:
    """Together what was learnt apart, where it is still there; else of the weights."""
    if base is None or not taught or settings.weights is not None:
        return OF_WEIGHTS
    fast = fast_method(base)
    if fast is None:
        return OF_WEIGHTS
    # A hypernetwork's rank is its own.
    return "hypernetwork" if fast == "hypernetwork" and settings.rank is None else "statistics"


def _adapter_id(job_id: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"rune:merge:{job_id}"))


def _lay_out(folder: Path, taught: list[Trajectory] | None) -> None:
    """Begin the folder; checkpoints stay."""
    try:
        shutil.rmtree(folder / "output", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{trajectory.model_dump_json()}\n" for trajectory in taught or ()]
        (folder / "trajectories.jsonl").write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise not_writable(folder, error) from error
