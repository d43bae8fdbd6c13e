"""Refuses a job that could only fail, before a row for it exists."""

from __future__ import annotations

from pathlib import Path

from base_models import BaseModelFolder
from rune_engine.config import RuneConfig
from rune_engine.errors import (
    AdapterBaseModelMismatchError,
    InvalidInputError,
    NothingToDistillError,
)
from rune_engine.extras import require
from rune_engine.inference.provider import AdapterRef
from rune_engine.jobs.methods import check_method
from rune_engine.mining.issues import read_issues
from rune_engine.mining.repository import Repository
from rune_engine.model_store.resolve import resolve_trainable
from rune_engine.models import (
    AdapterInfo,
    DistillParams,
    EvaluateParams,
    ImportParams,
    MineParams,
    RunTaskParams,
    Trajectory,
)
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


def check_run_task(params: RunTaskParams, base_model_id: str, registry: AdapterRegistry) -> None:
    """Check what a task names.

    Args:
        base_model_id: of the model that would solve it.

    Raises:
        AdapterNotFoundError: there is no adapter of that id.
        AdapterForgottenError: what it learnt from was forgotten.
        AdapterCorruptedError: its files are not what was stored.
        AdapterBaseModelMismatchError: it was made for another base model.
        InvalidInputError: the workspace is not an absolute path of a folder.
    """
    if params.adapter not in ("auto", "none"):
        _check_made_for(registry.verified_ref(params.adapter), base_model_id)
    if params.workspace is not None:
        _check_workspace(params.workspace)


def _check_made_for(adapter: AdapterRef, base_model_id: str) -> None:
    if adapter.base_model_id != base_model_id:
        raise AdapterBaseModelMismatchError(
            f"Adapter {adapter.id} was made for the base model {adapter.base_model_id!r}, not for "
            f"{base_model_id!r}.",
            next_step='Use "auto", or an adapter that was made for this base model.',
        )


def _check_workspace(workspace: str) -> None:
    try:
        usable = Path(workspace).is_absolute() and Path(workspace).is_dir()
    except (OSError, ValueError):
        usable = False
    if not usable:
        raise InvalidInputError(
            f"workspace must be an absolute path of a folder; {workspace[:200]!r} is not.",
            next_step="Give the project's root folder, or leave workspace out.",
        )


def check_distill(params: DistillParams, config: RuneConfig, trajectories: TrajectoryStore) -> None:
    """Check that there is a base model to train for, and something to train on.

    Raises:
        BaseModelNotFoundError: there is no base model of that name to distill into.
        BaseModelCorruptedError: what it says of itself cannot be read.
        NothingToDistillError: no trajectory qualifies.
        TrajectoryNotFoundError: a trajectory was named that does not exist.
        MissingExtraError: this is the base install, or the method needs bitsandbytes.
        InvalidInputError: the base model lacks the method, or the method what was asked of it.
    """
    check_method(params, find_base_model(params, config))
    gather(params, trajectories)
    trajectories.distillable(params.project_id, ids=params.kept_back_ids)
    require("torch", "Distilling an adapter")
    if params.method in ("qlora", "qdora"):
        require("qlora", f"Distilling with {params.method}")


def check_evaluate(
    params: EvaluateParams,
    base_model_id: str,
    registry: AdapterRegistry,
    trajectories: TrajectoryStore,
) -> AdapterInfo:
    """Check what an evaluation names.

    Raises:
        AdapterNotFoundError: there is no adapter of that id.
        AdapterForgottenError: something that it learnt from was forgotten.
        AdapterCorruptedError: its files are not what was stored.
        AdapterBaseModelMismatchError: it was made for another base model.
        TrajectoryNotFoundError: a trajectory was named that does not exist.
    """
    adapter = registry.retrieve_by_id(params.adapter_id)
    _check_made_for(registry.verified_ref(adapter.id), base_model_id)
    for trajectory_id in params.trajectory_ids or ():
        trajectories.get(trajectory_id)
    return adapter


def check_import(params: ImportParams) -> None:
    """Check that there is a file to import.

    Raises:
        InvalidInputError: the path is not an absolute one of a readable file.
    """
    path = Path(params.path)
    try:
        if path.is_absolute() and path.is_file():
            path.open("rb").close()
            return
        problem = "is not an absolute path of a file"
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {error}"
    raise InvalidInputError(
        f"{params.path[:200]!r} {problem}.", next_step="Give a JSON Lines file's absolute path."
    )


def check_mine(params: MineParams) -> None:
    """Check that there is a repository to mine, and that the issues can be read.

    Raises:
        InvalidInputError: a path is not absolute, there is no such branch, or the file has no
            issue.
        RepositoryUnreadableError: git cannot read the repository.
    """
    for path in filter(None, (params.repository, params.issues)):
        if "\0" in path or not Path(path).is_absolute():
            raise InvalidInputError(
                f"{path[:200]!r} is not an absolute path.", next_step="Give the whole path."
            )
    with Repository(Path(params.repository)) as repository:
        repository.resolve(params.branch)
    if params.issues:
        read_issues(Path(params.issues))


def find_base_model(params: DistillParams, config: RuneConfig) -> BaseModelFolder:
    """The base model's folder.

    Raises:
        BaseModelNotFoundError: there is none; a script or a GGUF file has none either.
        BaseModelCorruptedError: what it says of itself cannot be read.
    """
    return resolve_trainable(params.base_model or config.base_model, config)


def gather(params: DistillParams, trajectories: TrajectoryStore) -> list[Trajectory]:
    """The trajectories that a distillation would train on now: none that it keeps back.

    Raises:
        NothingToDistillError: none qualifies.
        TrajectoryNotFoundError: one was named that does not exist.
    """
    candidates = trajectories.distillable(
        params.project_id, params.domain, params.task_type, params.trajectory_ids
    )
    kept_back = set(params.kept_back_ids)
    found = [trajectory for trajectory in candidates if trajectory.id not in kept_back]
    if not found:
        scope = " / ".join(filter(None, (params.project_id, params.domain, params.task_type)))
        raise NothingToDistillError(
            f"There is nothing to distill in {scope}: no successful trajectory that is not held "
            "out or kept back.",
            next_step="Record sessions whose tests passed, or let run_task solve some tasks.",
        )
    return found
