"""What a training is reckoned to take is about what it takes, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measured_training import make_network
from training_support import BASE, job_file

from rune_engine.errors import DeviceMemoryError, TrainingError
from rune_engine.models import DistillMethod, TrainerJob
from trainers.direct import distill
from trainers.memory import Plan, Room, Shape, choose, estimate, room_for, shape_of
from trainers.running import Cut
from trainers.settings import DirectSettings

SCRIPT = Path(__file__).with_name("measured_training.py")
LARGE = Shape(
    parameters=494_032_768,
    linear=357_826_560,
    largest=896 * 4864,
    layers=24,
    hidden=896,
    inner=4864,
    queries=896,
    keys=128,
    heads=14,
    vocabulary=151_936,
    packs=True,
    adapter_per_rank=24 * (6 * 896 + 2 * 128 + 3 * (896 + 4864)),
)
"""Qwen2.5-Coder-0.5B's."""
LENGTHS = [100, 300, 900]


def measured(folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_network(folder)
    return folder


@pytest.mark.parametrize(
    ("method", "tokens", "checkpointed"),
    [("lora", 1024, False), ("lora", 1024, True), ("qlora", 512, False)],
)
def test_the_estimate_is_within_a_factor_of_the_measured_peak(
    base: Path, method: str, tokens: int, checkpointed: bool
) -> None:
    found = measured(base, method, str(tokens), str(int(checkpointed)))
    assert found["measured"] / 1.3 <= found["estimated"] <= 2.0 * found["measured"], found


def test_less_memory_means_smaller_parts_then_checkpointing_then_four_bits() -> None:
    settings = DirectSettings()

    def plan(free: int, method: DistillMethod = "auto") -> Plan:
        return choose(LARGE, settings, LENGTHS, method, Room(free))

    plenty = plan(10**12)
    assert (plenty.method, plenty.cut.checkpointed) == ("lora", False)
    seen = [plenty]
    while True:
        try:
            seen.append(plan(seen[-1].needed - 1))
        except DeviceMemoryError:
            break
    assert [p.needed for p in seen] == sorted((p.needed for p in seen), reverse=True)
    ways = [(p.method == "qlora", p.cut.checkpointed, -p.cut.tokens) for p in seen]
    assert ways[0] < ways[-1] and ways[-1][0] and min(p.cut.tokens for p in seen) == 900
    assert {p.method for p in seen} == {"lora", "qlora"}
    with pytest.raises(DeviceMemoryError, match="lora"):
        plan(seen[-1].needed - 1, "lora")


@pytest.mark.parametrize("method", ["lora", "qlora", "qdora"])
def test_a_method_that_was_asked_for_is_kept(method: DistillMethod) -> None:
    assert choose(LARGE, DirectSettings(), LENGTHS, method, Room(10**12)).method == method


def test_a_refusal_says_what_is_needed_what_there_is_and_what_to_do() -> None:
    with pytest.raises(DeviceMemoryError) as free:
        choose(LARGE, DirectSettings(), LENGTHS, "lora", Room(10**8))
    assert "GB" in free.value.message and "0.1 GB is free" in free.value.message
    assert "qlora" in free.value.next_step and free.value.retryable
    with pytest.raises(TrainingError) as limited:
        choose(LARGE, DirectSettings(), LENGTHS, "lora", Room(10**8, limited=True))
    assert "training_memory_bytes" in limited.value.next_step and not limited.value.retryable


def test_a_limit_counts_what_the_process_holds_already() -> None:
    free = room_for("cpu", None)
    assert not free.limited and free.held > 0 and free.free > 0
    assert room_for("cpu", free.held + 2**20).free <= 2**20
    assert room_for("cpu", 1) == replace(room_for("cpu", 1), free=0, limited=True)
    assert not room_for("cpu", 2**60).limited


def test_longer_parts_and_higher_precision_take_more() -> None:
    def needed(method: Any = "lora", tokens: int = 1024, rank: int = 16, **cut: Any) -> int:
        return estimate(LARGE, method, Cut(tokens, **cut), rank, tokens, 512)

    assert (
        needed(tokens=2048)
        > needed()
        > needed(checkpointed=True)
        > needed("qlora", checkpointed=True)
    )
    assert needed(rank=64) > needed() and needed("qdora") > needed("qlora")


def test_the_shape_is_read_without_the_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((BASE.path / "config.json").read_text())
    shape = shape_of(tmp_path, DirectSettings(), "cpu")
    assert (shape.layers, shape.hidden, shape.inner, shape.keys) == (6, 256, 768, 128)
    assert shape.packs and shape.linear < shape.parameters


def test_the_trainer_refuses_before_it_loads_anything(tmp_path: Path) -> None:
    file = job_file(tmp_path, memory_limit_bytes=50_000_000)
    weights = tmp_path / "model"
    weights.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(BASE.path / name, weights)
    job = TrainerJob.model_validate_json(file.read_text())
    with pytest.raises(TrainingError) as caught:
        distill(job.model_copy(update={"base_model_path": str(weights)}), lambda done, text: None)
    assert "training_memory_bytes" in caught.value.next_step
