"""Adapters come from trainers' processes, once; what cannot be had is said, never made up."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments_support import small_world

from rune_engine.config import RuneConfig
from rune_engine.errors import TrainerDiedError, TrainingError
from rune_engine.experiments import weights
from rune_engine.experiments.adapters import Workshop
from rune_engine.experiments.base import HYPERNETWORK, Base, find_base
from rune_engine.experiments.conditions import make_adapters
from rune_engine.experiments.diagnostics import diagnose
from rune_engine.experiments.recording import Taught
from rune_engine.experiments.weights import Factors
from rune_engine.jobs.trainer import Trainers

HERE = Path(__file__).resolve().parent


@pytest.fixture
def base(tmp_path: Path) -> Base:
    folder = tmp_path / "base"
    factors = Factors(np.ones((2, 8), np.float32), np.ones((6, 2), np.float32))
    weights.write({"model.layers.0.mlp.down_proj": factors}, folder / "adapter", "any", "tiny")
    return Base("tiny", "tiny", folder, "0" * 64)


@pytest.fixture
def worlds(tmp_path: Path) -> list[Taught]:
    return [small_world(tmp_path / str(number), number) for number in (0, 1)]


def workshop(base: Base, config: RuneConfig, seed: int = 0) -> Workshop:
    trainers = Trainers((sys.executable, str(HERE / "particular_trainer.py")))
    return Workshop(base, base.path.parent / "work", trainers, config, seed)


def starts(base: Base) -> list[str]:
    return (base.path / "starts").read_text(encoding="utf-8").splitlines()


def advance() -> None:
    """Nobody looks."""


async def test_methods_take_turns_and_no_adapter_is_made_twice(
    base: Base, worlds: list[Taught], config: RuneConfig
) -> None:
    made, missing = await make_adapters(worlds, base, workshop(base, config), advance)
    assert missing == {HYPERNETWORK: "The base model has no hypernetwork."}
    one, two = (each.subject.name for each in worlds)
    expected = ["closed_form known", f"closed_form {one}", f"lora {one}"]
    assert starts(base) == [*expected, f"closed_form {two}", f"lora {two}"]
    again, _ = await make_adapters(worlds, base, workshop(base, config), advance)
    assert again == made
    assert len(starts(base)) == 5
    await workshop(base, config, seed=1).make("direct", one, worlds[0].trajectories)
    assert len(starts(base)) == 6, "what is made of another seed is another adapter"


async def test_an_adapters_reference_names_the_bytes_its_trainer_left(
    base: Base, worlds: list[Taught], config: RuneConfig
) -> None:
    [first, *_] = worlds
    made = await workshop(base, config).make("direct", "mine", first.trajectories)
    data = (made.ref.path / "adapter_model.safetensors").read_bytes()
    assert made.ref.sha256 == hashlib.sha256(data).hexdigest()
    assert (made.ref.id, made.ref.base_model_id) == ("direct-mine", "tiny")
    assert made.learnt_from() == first.trajectories
    assert made.wall_seconds > 0 and made.cpu_seconds > 0


async def test_a_method_that_the_base_model_refuses_is_not_available(
    base: Base, worlds: list[Taught], config: RuneConfig
) -> None:
    (base.path / "refuses").write_text("closed_form", encoding="utf-8")
    made, missing = await make_adapters(worlds, base, workshop(base, config), advance)
    assert list(made) == ["direct"]
    assert missing["closed_form"] == "Not here."


async def test_a_refusal_after_adapters_were_made_is_a_failure(
    base: Base, worlds: list[Taught], config: RuneConfig
) -> None:
    (base.path / "refuses").write_text(worlds[1].subject.name, encoding="utf-8")
    with pytest.raises(TrainingError):
        await make_adapters(worlds, base, workshop(base, config), advance)


async def test_a_trainer_that_is_killed_is_a_failure_and_what_was_made_stays(
    base: Base, worlds: list[Taught], config: RuneConfig
) -> None:
    (base.path / "dies").write_text("lora", encoding="utf-8")
    with pytest.raises(TrainerDiedError):
        await make_adapters(worlds, base, workshop(base, config), advance)
    (base.path / "dies").unlink()
    made, _ = await make_adapters(worlds, base, workshop(base, config), advance)
    assert {len(each) for each in made.values()} == {2}
    assert starts(base).count(f"closed_form {worlds[0].subject.name}") == 1


async def test_equal_adapters_are_told_to_have_collapsed(
    base: Base, worlds: list[Taught], config: RuneConfig
) -> None:
    made, _ = await make_adapters(worlds, base, workshop(base, config), advance)
    signals = diagnose(list(made["direct"].values()))
    assert signals["mean_cosine"] == pytest.approx(1.0)
    assert signals["collapsed"] is True
    assert signals["delta_w_norm"] > 0 and signals["changes_something"] is True


def test_a_base_models_hash_is_its_weights_and_its_recipe_what_lies_beside(
    tmp_path: Path, config: RuneConfig
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    found = find_base(str(folder), config)
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert not found.hypernetwork
    (folder / HYPERNETWORK).mkdir()
    (folder / HYPERNETWORK / "hypernetwork.safetensors").write_bytes(b"more")
    again = find_base(str(folder), config)
    assert again.hypernetwork and again.sha256 == found.sha256
    differ = {method for method, files in found.recipes.items() if again.recipes[method] != files}
    assert differ == {HYPERNETWORK}


async def test_another_recipe_makes_another_adapter(
    base: Base, worlds: list[Taught], config: RuneConfig
) -> None:
    trajectories = worlds[0].trajectories
    await workshop(base, config).make("closed_form", "mine", trajectories)
    for method, times in (("direct", 1), ("closed_form", 2)):
        other = replace(base, recipes={method: "1" * 64})
        await workshop(other, config).make("closed_form", "mine", trajectories)
        assert starts(base) == ["closed_form known", "closed_form mine"] * times
