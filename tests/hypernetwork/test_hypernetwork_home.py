"""Methods as the engine chooses and refuses them, by what lies in the base model's folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import closed_form_support as support
import pytest

import base_models
from base_models.hypernetworks import DESCRIPTION, FOLDER, WEIGHTS
from rune_engine.config import RuneConfig, load_config
from rune_engine.database import open_database
from rune_engine.doctor import machine
from rune_engine.errors import BaseModelCorruptedError, InvalidInputError
from rune_engine.jobs.distill import Distill
from rune_engine.jobs.methods import fast_method, method_for
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.submission import check_distill
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import DistillParams, DistillResult, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


def asked(base: Path, **given: Any) -> DistillParams:
    return DistillParams(project_id="p", base_model=str(base), **given)


def damaged(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    (folder / FOLDER / WEIGHTS).write_bytes(b"not it")
    return folder


def foreign(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    described = folder / FOLDER / DESCRIPTION
    described.write_text(described.read_text().replace('"base": "', '"base": "0'))
    return folder


async def test_a_job_that_leaves_it_open_is_done_by_the_hypernetwork(
    config: RuneConfig, base: Path
) -> None:
    database = open_database(config)
    trajectories, jobs = TrajectoryStore(database), JobStore(database)
    for each in support.trajectories(3):
        draft = each.model_dump(exclude={"id", "content_hash", "created_at"})
        trajectories.record(TrajectoryDraft.model_validate(draft))
    params = asked(base)
    check_distill(params, config, trajectories)
    jobs.enqueue("distill", params)
    job = jobs.claim("engine")
    assert job is not None
    registry = AdapterRegistry(database, config)
    work = Distill(config, registry, trajectories, Trainers(), jobs)
    result = await work(job, lambda _fraction, _message: None)
    assert isinstance(result, DistillResult)
    assert (result.method, result.newly_read) == ("hypernetwork", 3)
    adapter = registry.retrieve_by_id(result.adapter_id)
    assert (adapter.source, adapter.rank) == ("distillation", support.HIDDEN)
    database.close()


def test_what_is_left_open_is_done_at_once_where_the_base_model_can(
    base: Path, plain_base: Path, tmp_path: Path
) -> None:
    with_one, without = base_models.describe(str(base)), base_models.describe(str(plain_base))
    assert fast_method(with_one) == "hypernetwork"
    assert fast_method(without) == "closed_form"
    assert method_for(asked(base), with_one) == "hypernetwork"
    assert method_for(asked(base, rank=4), with_one) == "closed_form"
    assert method_for(asked(base, max_steps=4), with_one) == "direct"
    assert method_for(asked(base, learning_rate=0.1), without) == "direct"
    assert method_for(asked(base, method="lora"), with_one) == "lora"
    shutil.copytree(plain_base, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text('{"model_type": "gpt2"}')
    other = base_models.describe(str(tmp_path / "other"))
    assert fast_method(other) is None and method_for(asked(base), other) == "direct"


@pytest.mark.parametrize("harm", [damaged, foreign])
def test_one_that_cannot_be_used_is_passed_over_unless_it_is_asked_for(
    harm: Any, base: Path, tmp_path: Path
) -> None:
    harmed = harm(base, tmp_path / "harmed")
    assert fast_method(base_models.describe(str(harmed))) == "closed_form"
    config = load_config(home=tmp_path / "home", base_model=str(harmed))
    database = open_database(config)
    with pytest.raises((InvalidInputError, BaseModelCorruptedError)) as caught:
        check_distill(asked(harmed, method="hypernetwork"), config, TrajectoryStore(database))
    assert "closed_form" in str(caught.value.next_step)
    database.close()


@pytest.mark.parametrize("harm", [damaged, foreign])
async def test_the_doctor_tells_of_one_that_cannot_be_used(
    harm: Any, base: Path, tmp_path: Path
) -> None:
    async def told(model: Path) -> tuple[str, str]:
        config = load_config(home=tmp_path / "home", base_model=str(model))
        [check] = [c for c in await machine.look_at(config) if c.name == "base model"]
        return check.status, check.detail

    status, detail = await told(harm(base, tmp_path / "harmed"))
    assert status == "warning" and "hypernetwork" in detail


@pytest.mark.parametrize(
    "given", [{"method": "hypernetwork", "rank": 4}, {"method": "hypernetwork", "max_steps": 4}]
)
def test_settings_that_a_hypernetwork_has_not_are_refused(
    config: RuneConfig, base: Path, given: dict[str, Any]
) -> None:
    database = open_database(config)
    with pytest.raises(InvalidInputError):
        check_distill(asked(base, **given), config, TrajectoryStore(database))
    database.close()


def test_a_method_that_the_base_model_lacks_is_refused(
    config: RuneConfig, plain_base: Path
) -> None:
    database = open_database(config)
    with pytest.raises(InvalidInputError, match="has no hypernetwork"):
        check_distill(asked(plain_base, method="hypernetwork"), config, TrajectoryStore(database))
    database.close()
