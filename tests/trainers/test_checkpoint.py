"""Checkpoints: the last good one of the same inputs, whatever became of the others."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from trainers.checkpoint import Checkpoints, Snapshot


def snapshot(step: int) -> Snapshot:
    return Snapshot({"weights": torch.full((3, 2), float(step))}, {"step": step, "loss": 0.5})


def step_of(found: Snapshot | None) -> int:
    assert found is not None
    assert torch.equal(found.tensors["weights"], torch.full((3, 2), float(found.numbers["step"])))
    return int(found.numbers["step"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def kept(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints(folder, "inputs", 0.0)
    for step in range(1, 13):
        checkpoints.save(snapshot(step))
    return checkpoints


def test_the_last_one_is_found_and_two_are_kept(kept: Checkpoints, folder: Path) -> None:
    assert step_of(kept.latest()) == 12
    assert step_of(Checkpoints(folder, "inputs", 0.0).latest()) == 12
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("at", [0, 9, 60, -1], ids=["length", "header", "numbers", "tensor"])
def test_a_damaged_one_is_passed_over_with_a_warning(
    kept: Checkpoints, folder: Path, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    newest = max(folder.iterdir())
    data = bytearray(newest.read_bytes())
    data[at] ^= 1
    newest.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert step_of(kept.latest()) == 11
    assert "damaged" in caplog.text and newest.name in caplog.text


def test_a_cut_off_one_and_a_half_written_one_are_passed_over(
    kept: Checkpoints, folder: Path
) -> None:
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:40])
    (folder / "new").write_bytes(b"half")
    assert kept.latest() is None
    kept.save(snapshot(20))
    assert step_of(kept.latest()) == 20


def test_one_of_other_inputs_is_passed_over(kept: Checkpoints, folder: Path) -> None:
    assert Checkpoints(folder, "other inputs", 0.0).latest() is None


def test_without_a_folder_none_is_due_and_none_is_found() -> None:
    nowhere = Checkpoints(None, "inputs", 0.0)
    nowhere.save(snapshot(1))
    assert nowhere.latest() is None and not nowhere.due()


def test_one_is_due_only_after_its_time(folder: Path) -> None:
    assert Checkpoints(folder, "inputs", 0.0).due()
    assert not Checkpoints(folder, "inputs", 3600.0).due()


def test_a_folder_that_cannot_be_written_costs_the_checkpoint_alone(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        Checkpoints(folder, "inputs", 0.0).save(snapshot(1))
    assert "No checkpoint could be written" in caplog.text
