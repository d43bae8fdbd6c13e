"""The closed form as the engine runs it: a job in a home, forgotten, examined and backed up."""

from __future__ import annotations

import tarfile
from pathlib import Path

import closed_form_support as support
import pytest

from rune_engine import doctor
from rune_engine.backup.making import make_backup
from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.errors import InvalidInputError
from rune_engine.forgetting import Forgetting
from rune_engine.jobs.distill import Distill
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.submission import check_distill
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import DistillParams, DistillResult, ForgetParams, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


def record(database: Database, count: int) -> None:
    store = TrajectoryStore(database)
    for each in support.trajectories(count):
        given = each.model_dump(exclude={"id", "content_hash", "created_at"})
        store.record(TrajectoryDraft.model_validate(given))


async def distilled(config: RuneConfig, database: Database, base: Path) -> DistillResult:
    """A distillation by the engine's own trainer, in a process of its own."""
    params = DistillParams(project_id="p", base_model=str(base), method="closed_form")
    trajectories, jobs = TrajectoryStore(database), JobStore(database)
    check_distill(params, config, trajectories)
    jobs.enqueue("distill", params)
    job = jobs.claim("engine")
    assert job is not None
    registry = AdapterRegistry(database, config)
    work = Distill(config, registry, trajectories, Trainers(), jobs)
    result = await work(job, lambda _fraction, _message: None)
    adapter = registry.retrieve_by_id(result.adapter_id)
    assert (adapter.source, adapter.rank) == ("distillation", 32)
    return result


def kept(config: RuneConfig) -> list[Path]:
    return sorted(config.statistics_path.glob("*/*"))


async def test_a_job_keeps_what_it_read_until_it_is_forgotten(
    config: RuneConfig, base: Path, tmp_path: Path
) -> None:
    database = open_database(config)
    record(database, 4)
    result = await distilled(config, database, base)
    assert (result.method, result.newly_read, result.trajectories) == ("closed_form", 4, 4)
    assert set(result.chosen) == {"ridge", "strength"}, "its figures are kept with its job"
    assert not config.tracking_path.exists(), "MLflow has the trainings"
    assert len(kept(config)) == 5  # four trajectories, and what the base model knows

    make_backup(config, tmp_path / "memory.tar")
    with tarfile.open(tmp_path / "memory.tar") as backup:
        names = backup.getnames()
    assert "rune.db" in names and not [name for name in names if "statistics" in name]

    [wanted] = [t for t in TrajectoryStore(database).distillable("p") if t.session_id == "s2"]
    folder = config.statistics_path / base.name
    gone = {f"{wanted.content_hash}.safetensors", f".{wanted.content_hash}.safetensors.1.partial"}
    for name in gone:
        (folder / name).touch()
    report = Forgetting(database, config).forget(ForgetParams(session_id="s2"))
    assert report.proof is not None
    assert gone <= {Path(name).name for name in report.proof.removed}
    assert len(kept(config)) == 4 and not gone & {path.name for path in kept(config)}
    database.close()


async def test_the_doctor_removes_what_belongs_to_no_trajectory(config: RuneConfig) -> None:
    open_database(config).close()
    stranger = config.statistics_path / "tiny" / f"{'a' * 64}.safetensors"
    stranger.parent.mkdir(parents=True)
    stranger.touch()
    (stranger.parent / "known.safetensors").touch()
    [finding] = doctor.repair(config).findings
    assert (finding.kind, finding.repaired) == ("stray", True)
    assert [path.name for path in kept(config)] == ["known.safetensors"]
    assert doctor.examine(config).findings == []


@pytest.mark.parametrize("given", [{"max_steps": 5}, {"learning_rate": 0.1}])
def test_settings_of_a_training_are_refused(
    config: RuneConfig, base: Path, given: dict[str, float]
) -> None:
    database = open_database(config)
    record(database, 1)
    params = DistillParams.model_validate(
        {"project_id": "p", "base_model": str(base), "method": "closed_form", **given}
    )
    with pytest.raises(InvalidInputError, match="trains nothing"):
        check_distill(params, config, TrajectoryStore(database))
    database.close()
