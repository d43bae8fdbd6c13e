"""A killed training goes on from its last checkpoint and ends with the same weights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close
from training_support import BOUND_SECONDS, FINISH_STEPS, job_file, train

STEPS = 8
OUT_OF_MEMORY = """
import torch
from trainers.protocol import run_trainer
def trainer(job, report):
    raise torch.OutOfMemoryError("tried to allocate 20 GiB")
run_trainer(trainer)
"""


def checkpointed(folder: Path, **changes: Any) -> Path:
    """A job that leaves a checkpoint after every step."""
    kept = {"checkpoint_path": str(folder / "checkpoints"), "checkpoint_seconds": 0.0}
    return job_file(folder, **{"max_steps": STEPS, **kept, **changes})


def killed_at(file: Path, step: str) -> list[dict[str, Any]]:
    """Start the trainer, `kill -9` it when it reports `step`, and return what it had said."""
    events: list[dict[str, Any]] = []
    with subprocess.Popen(
        [sys.executable, "-m", "trainers", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1].get("message", "").startswith(step):
                break
        process.kill()
        assert process.wait(BOUND_SECONDS) == -9, events[-1]
    return events


def messages(events: list[dict[str, Any]]) -> list[str]:
    return [event["message"] for event in events if event["event"] == "progress"]


def steps_of(events: list[dict[str, Any]], phase_of: int) -> list[int]:
    found = [re.match(rf"step (\d+)/{phase_of},", text) for text in messages(events)]
    return [int(match[1]) for match in found if match]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    code, events = train(job_file(folder, max_steps=STEPS))
    assert code == 0, events[-1]
    return folder, events[-1]


def assert_same_adapter(first: Path, second: Path) -> None:
    one = load_file(first / "out" / "adapter_model.safetensors")
    other = load_file(second / "out" / "adapter_model.safetensors")
    assert one.keys() == other.keys()
    for name in one:
        assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "step", [f"step 5/{STEPS},", f"step 3/{FINISH_STEPS},"], ids=["first", "last"]
)
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    uninterrupted: tuple[Path, dict[str, Any]], tmp_path: Path, step: str
) -> None:
    folder, result = uninterrupted
    file = checkpointed(tmp_path)
    killed_at(file, step)
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()
    code, events = train(file)
    assert code == 0, events[-1]
    assert any("continues" in text for text in messages(events))
    first, last = steps_of(events, STEPS), steps_of(events, FINISH_STEPS)
    if step.endswith(f"{STEPS},"):
        assert 1 not in first and first + last != [], "it did not begin anew"
    else:
        assert first == [] and last[0] >= 3, "the first phase was over"
    assert_same_adapter(folder, tmp_path)
    same = ("steps", "examples", "rank")
    assert [events[-1][name] for name in same] == [result[name] for name in same]
    for name in ("training_loss", "kept_back_loss", "kept_back_loss_before", "delta_w_norm"):
        assert events[-1][name] == pytest.approx(result[name], rel=1e-2)


def test_a_killed_training_on_a_quantised_base_model_goes_on_as_well(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    code, events = train(job_file(whole, max_steps=5, method="qlora"))
    assert code == 0, events[-1]
    file = checkpointed(killed, max_steps=5, method="qlora")
    killed_at(file, "step 3/5,")
    code, events = train(file)
    assert code == 0, events[-1]
    assert any("continues" in text for text in messages(events)) and 1 not in steps_of(events, 5)
    assert_same_adapter(whole, killed)


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path: Path) -> None:
    file = checkpointed(tmp_path)
    killed_at(file, f"step 5/{STEPS},")
    newest = max((tmp_path / "checkpoints").glob("0*"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    events = killed_at(file, "step")
    assert any("continues" in text for text in messages(events)) and steps_of(events, STEPS) != [1]


def test_a_checkpoint_of_other_trajectories_is_not_continued(tmp_path: Path) -> None:
    file = checkpointed(tmp_path)
    killed_at(file, f"step 2/{STEPS},")
    trajectories = tmp_path / "trajectories.jsonl"
    trajectories.write_text("\n".join(trajectories.read_text().splitlines()[1:]))
    assert steps_of(killed_at(file, "step"), STEPS) == [1]


def test_a_full_accelerator_is_said_to_be_one(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OUT_OF_MEMORY, str(job_file(tmp_path))],
        stdin=subprocess.PIPE,  # left open: a trainer ends when it closes
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline())
        assert process.wait(BOUND_SECONDS) == 1
    assert (event["event"], event["code"]) == ("error", "device_memory")
    assert "20 GiB" in event["message"] and event["next_step"]
