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
    NO_ADAPTER,
    AdapterInfo,
    ConsolidateParams,
    DistillParams,
    EvaluateParams,
    EvolveParams,
    ImportParams,
    RunTaskParams,
    Trajectory,
)
from rune_engine.models.mining import MineParams
from rune_engine.registry import AdapterRegistry
from rune_engine.regular_files import require_regular
from rune_engine.trajectories import TrajectoryStore

_MAX_FILE_BYTES = 4 * 1024**3


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
) -> AdapterInfo | None:
    """Check what an evaluation names; None where it is of the base model alone.

    Raises:
        AdapterNotFoundError: there is no adapter of that id.
        AdapterForgottenError: something that it learnt from was forgotten.
        AdapterCorruptedError: its files are not what was stored.
        AdapterBaseModelMismatchError: it was made for another base model.
        TrajectoryNotFoundError: a trajectory was named that does not exist.
        InvalidInputError: the suite cannot be read, the workspace is no folder, or there is nothing
            to judge by.
    """
    if params.workspace is not None:
        _check_workspace(params.workspace)
    if params.suite is not None:
        _check_readable(params.suite, "Give a suite's absolute path.")
    if max(params.pass_at, default=1) > params.samples:
        raise InvalidInputError(
            f"pass@{max(params.pass_at)} cannot be estimated from {params.samples} samples a task.",
            next_step="Ask for at least as many samples.",
        )
    if params.adapter_id == NO_ADAPTER:
        if params.suite is None or params.folds is not None or params.criterion != "tests":
            raise InvalidInputError(
                "Without an adapter there is nothing to judge by but a suite's tests.",
                next_step="Name an adapter, or a suite.",
            )
        return None
    if params.folds is not None and (
        params.suite or params.trajectory_ids or params.criterion != "tests"
    ):
        raise InvalidInputError(
            "Folds are parts of what an adapter was taught, judged by its tests.",
            next_step="Leave the suite, the trajectories and the criterion out.",
        )
    adapter = registry.retrieve_by_id(params.adapter_id)
    _check_made_for(registry.verified_ref(adapter.id), base_model_id)
    for trajectory_id in params.trajectory_ids or ():
        trajectories.get(trajectory_id)
    return adapter


def check_consolidate(
    params: ConsolidateParams, base_model_id: str, registry: AdapterRegistry
) -> list[AdapterInfo]:
    """The adapters that a consolidation names, once nothing is known that would make it fail.

    Args:
        base_model_id: of the model that the candidate would be measured with.

    Raises:
        AdapterNotFoundError: there is no adapter of that id.
        AdapterForgottenError: something that one learnt from was forgotten.
        AdapterCorruptedError: one's files are not what was stored.
        AdapterBaseModelMismatchError: one was made for another base model.
        InvalidInputError: one is not in use, or they are of several projects.
    """
    found = [registry.retrieve_by_id(each) for each in params.adapter_ids]
    for adapter in found:
        _check_made_for(registry.verified_ref(adapter.id), base_model_id)
        if adapter.is_archived:
            raise InvalidInputError(
                f"Adapter {adapter.id} is archived.", next_step="Restore it first."
            )
    if len({adapter.project_id for adapter in found}) > 1:
        raise InvalidInputError(
            "These adapters are of different projects.",
            next_step="Name adapters of one project: what one learnt stays in it.",
        )
    return found


def check_evolve(params: EvolveParams, registry: AdapterRegistry) -> str:
    """The project whose adapters an evolution is about.

    Raises:
        AdapterNotFoundError: there is no adapter of that id.
    """
    if params.adapter_id is not None:
        return registry.retrieve_by_id(params.adapter_id).project_id
    assert params.project_id is not None
    return params.project_id


def check_import(params: ImportParams) -> None:
    """Check that there is a file to import.

    Raises:
        InvalidInputError: the path is not an absolute one of a readable file.
    """
    _check_readable(params.path, "Give a JSON Lines file's absolute path.")


def _check_readable(file: str, next_step: str) -> None:
    path = Path(file)
    problem = "it is not an absolute path"
    try:
        if path.is_absolute():
            require_regular(path, _MAX_FILE_BYTES)
            return
    except OSError as error:
        problem = error.strerror or type(error).__name__
    raise InvalidInputError(f"{file[:200]!r} cannot be read: {problem}.", next_step=next_step)


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
