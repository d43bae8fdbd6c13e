"""MLflow runs of distillations, with the fields of the implementation plan (001).

The store is one SQLite file in RUNE_HOME; nothing is sent anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import BaseModel

from rune_engine.models import TrainerJob, TrainerResult

EXPERIMENT = "distillation"


@dataclass(slots=True)
class Run:
    """Collects what a run ends with."""

    metrics: dict[str, float] = field(default_factory=dict)

    def finish(self, result: TrainerResult, **chosen: float) -> None:
        """Record the figures of 001 that a distillation knows by itself, and what it chose."""
        self.metrics = chosen | {
            name: float(value)
            for name, value in result.model_dump().items()
            if isinstance(value, int | float)
        }


@contextmanager
def track(job: TrainerJob, settings: BaseModel, method: str) -> Iterator[Run]:
    """Open an MLflow run for the job; without a tracking path nothing is tracked."""
    run = Run()
    if job.tracking_path is None:
        yield run
        return
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{job.tracking_path}")
    mlflow.set_experiment(EXPERIMENT)
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
