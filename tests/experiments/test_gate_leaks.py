"""Leaks that are planted are found; without one nothing is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from experiments_support import small_world

from project_worlds.names import split_of
from rune_engine.experiments import leaks
from rune_engine.experiments.adapters import Made
from rune_engine.experiments.leaks import Check
from rune_engine.experiments.recording import Taught
from rune_engine.inference.provider import AdapterRef
from rune_engine.models import TrainerResult, Trajectory

RESULT = TrainerResult(
    rank=1,
    examples=1,
    steps=0,
    training_loss=0.1,
    kept_back_loss=None,
    kept_back_loss_before=None,
    delta_w_norm=1.0,
    seconds=1.0,
    peak_memory_bytes=1,
)


@pytest.fixture
def world(tmp_path: Path) -> Taught:
    return small_world(tmp_path / "workspace")


def made_of(trajectories: tuple[Trajectory, ...], folder: Path, name: str) -> Made:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [trajectory.model_dump_json() for trajectory in trajectories]
    (folder / "trajectories.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ref = AdapterRef(name, folder, "0" * 64, "base")
    return Made(ref, "closed_form", RESULT, 1.0, 1.0, folder)


def asked(trajectory: Trajectory, description: str) -> Trajectory:
    return trajectory.model_copy(update={"task_description": description})


def failing(checks: list[Check]) -> list[str]:
    return [check.title for check in checks if not check.clean]


def test_generated_worlds_are_clean(tmp_path: Path) -> None:
    worlds = [small_world(tmp_path / str(n), n) for n in (0, 1)]
    own = {
        each.subject.name: made_of(each.trajectories, tmp_path / each.subject.name, "a")
        for each in worlds
    }
    first, second = own
    lent = {first: own[second], second: own[first]}
    checks = leaks.check_everything(worlds, {"closed_form": own, "wrong_project": lent}, tmp_path)
    assert failing(checks) == []
    assert all(check.looked_at > 0 for check in checks)


def test_a_description_in_other_case_and_spacing_is_found(world: Taught) -> None:
    said = world.subject.tasks[0].description.upper().replace(" ", "  ")
    leaky = replace(world, trajectories=(asked(world.trajectories[0], said),))
    assert leaks.descriptions([leaky]).found == (world.subject.tasks[0].key,)


def test_a_solution_in_any_attempt_is_found(world: Taught) -> None:
    trajectory = world.trajectories[0]
    wrong = trajectory.attempts[0].model_copy(
        update={"generated_code": world.subject.tasks[0].solution, "tests_passed": False}
    )
    leaky = trajectory.model_copy(update={"attempts": [wrong, *trajectory.attempts]})
    found = leaks.solutions([replace(world, trajectories=(leaky,))])
    assert found.found == (world.subject.tasks[0].key,)


def test_a_combination_of_a_session_is_found(world: Taught) -> None:
    lesson = world.subject.lessons[0]
    task = replace(world.subject.tasks[0], operations=lesson.operations)
    leaky = replace(world, subject=replace(world.subject, tasks=(task,)))
    assert leaks.combinations_taught([leaky]).count == 1


def test_a_wording_of_a_session_is_found(world: Taught) -> None:
    task = world.subject.tasks[-1]
    assert task.kind == "new_wordings"
    leaky_task = replace(task, phrases=world.subject.lessons[0].phrases)
    leaky = replace(world, subject=replace(world.subject, tasks=(leaky_task,)))
    assert leaks.wordings([leaky]).count == 1


def test_an_adapter_that_was_given_a_held_out_task_is_found(world: Taught, tmp_path: Path) -> None:
    cheat = asked(world.trajectories[0], world.subject.tasks[0].description)
    made = made_of((*world.trajectories, cheat), tmp_path / "cheat", "cheat")
    found = leaks.adapters_lessons([world], {"closed_form": {world.subject.name: made}})
    assert found.found == (f"cheat: {cheat.id}",)


def test_a_wrong_projects_adapter_that_is_the_right_one_is_found(
    world: Taught, tmp_path: Path
) -> None:
    made = made_of(world.trajectories, tmp_path / "own", "own")
    name = world.subject.name
    assert leaks.own_adapters({"closed_form": {name: made}}).clean
    assert not leaks.own_adapters({"wrong_project": {name: made}}).clean
    assert not leaks.own_adapters({"closed_form": {"another": made}}).clean


def test_a_name_of_the_training_split_is_found(world: Taught) -> None:
    word = next(w for w in ("velo", "sorima", "tatu", "bada") if split_of(w) == "training")
    leaky = replace(world, subject=replace(world.subject, names=(*world.subject.names, word)))
    assert leaks.names_kept_back([leaky]).found == (word,)


def test_a_name_in_the_base_models_rehearsal_is_found(world: Taught, tmp_path: Path) -> None:
    name = world.subject.names[1]
    line = json.dumps({"task": "x", "code": f"import y\ny.{name}(1)"})
    (tmp_path / "rehearsal.jsonl").write_text(line, encoding="utf-8")
    assert leaks.names_in_rehearsal([world], tmp_path).found == (name,)
