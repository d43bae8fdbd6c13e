"""MLflow runs of trainings: of adapters, and of hypernetworks, with the fields of the plan (001).

The store is one SQLite file in RUNE_HOME; nothing is sent anywhere. What is made without training
has no run: MLflow takes longer to load than such an adapter to make, and its job keeps the figures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from rune_engine.models import TrainerJob, TrainerResult

EXPERIMENT = "distillation"
_HYPERNETWORKS = "hypernetworks"


@dataclass(slots=True)
class Run:
    """Collects what a run ends with."""

    metrics: dict[str, float] = field(default_factory=dict)

    def finish(self, result: TrainerResult) -> None:
        """Record the figures of 001 that a distillation knows by itself."""
        self.metrics = {
            name: float(value)
            for name, value in result.model_dump().items()
            if isinstance(value, int | float)
        }


@contextmanager
def track(job: TrainerJob, settings: BaseModel, method: str) -> Iterator[Run]:
    """Open an MLflow run for a training; without a tracking path nothing is tracked."""
    run = Run()
    if job.tracking_path is None:
        yield run
        return
    mlflow = _mlflow(job.tracking_path, EXPERIMENT)
    with mlflow.start_run(run_name=job.job_id):
        mlflow.log_params(
            {
                "phase": "distillation",
                "method": method,
                "adapter_id": job.adapter_id or "",
                "project_id": job.project_id,
                "base_model_id": job.base_model_id,
                "seed": job.seed,
                **settings.model_dump(),
            }
        )
        yield run
        mlflow.log_metrics(run.metrics)


class Training(Protocol):
    """A training's run, which may go on in another process."""

    @property
    def run_id(self) -> str | None: ...

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Figures of a checkpoint."""


@dataclass(frozen=True, slots=True)
class _Untracked:
    run_id: None = None

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Tracked:
    mlflow: Any
    run_id: str

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        named = {_AS_IN_001.get(name, name): value for name, value in numbers.items()}
        self.mlflow.log_metrics(named, step=step)


_AS_IN_001 = {"training_next": "training_loss", "cosine_diversity": "adapter_cosine_diversity"}


@contextmanager
def track_training(
    path: Path | None, settings: Mapping[str, Any], run_id: str | None
) -> Iterator[Training]:
    """An MLflow run of a hypernetwork's training; without a path nothing is tracked.

    Args:
        run_id: of the run that goes on.
    """
    if path is None:
        yield _Untracked()
        return
    mlflow = _mlflow(path, _HYPERNETWORKS)
    with mlflow.start_run(run_id=run_id) as run:
        if run_id is None:
            mlflow.log_params({"phase": "hypernetwork", **settings})
        yield _Tracked(mlflow, run.info.run_id)


def _mlflow(path: str | Path, experiment: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{path}")
    mlflow.set_experiment(experiment)
    return mlflow
