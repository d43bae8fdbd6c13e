"""An engine that dies between training and the job's last word: nothing is trained twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from engine_support import base_model_folder, draft

from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.errors import TrainingError
from rune_engine.jobs.distill import Distill
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import DistillParams
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

STAND_IN = (sys.executable, "-m", "trainers")
DEAD = ("false",)


def ignore(_fraction: float, _message: str) -> None:
    """A report that nobody reads."""


async def test_a_job_that_was_trained_is_only_registered_once(
    config: RuneConfig, tmp_path: Path
) -> None:
    database = open_database(config)
    registry, trajectories = AdapterRegistry(database, config), TrajectoryStore(database)
    trajectories.record(draft())
    params = DistillParams(project_id="shop", base_model=str(base_model_folder(tmp_path)))
    jobs = JobStore(database)
    jobs.enqueue("distill", params)
    job = jobs.claim("engine")
    assert job is not None

    def distill(trainer: tuple[str, ...]) -> Distill:
        return Distill(config, registry, trajectories, Trainers(trainer), jobs)

    with pytest.raises(TrainingError, match="exit code 1"):
        await distill(DEAD)(job, ignore)
    first = await distill(STAND_IN)(job, ignore)
    # The row was never written: the next engine runs the job again, with a trainer that is dead.
    trajectories.record(draft(1))
    again = await distill(DEAD)(job, ignore)
    assert again == first
    assert [adapter.id for adapter in registry.list_all()] == [first.adapter_id]
    database.close()
