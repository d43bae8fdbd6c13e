"""Direct distillation as the engine runs it: a subprocess, a job file, JSON lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from training_support import BASE, BOUND_SECONDS, job_file, train
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("trained")
    code, events = train(job_file(folder, tracking_path=str(folder / "mlflow.db")))
    assert code == 0, events[-1]
    return folder, events


def test_progress_rises_and_the_result_comes_last(
    trained: tuple[Path, list[dict[str, Any]]],
) -> None:
    _, events = trained
    fractions = [event["fraction"] for event in events[:-1]]
    assert fractions == sorted(fractions) and len(fractions) > 12
    assert events[-1]["event"] == "result"


def test_what_was_learnt_shows_on_tasks_that_were_kept_back(
    trained: tuple[Path, list[dict[str, Any]]],
) -> None:
    _, events = trained
    result = events[-1]
    assert result["kept_back_loss"] < result["kept_back_loss_before"]
    assert result["delta_w_norm"] > 0
    assert 0 < result["peak_memory_bytes"] < 2 * 1024**3


def test_the_adapter_loads_with_peft_and_changes_the_model(
    trained: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, _ = trained
    base = AutoModelForCausalLM.from_pretrained(BASE.path, dtype=torch.float32)
    ids = torch.arange(20).unsqueeze(0)
    before = base(ids).logits.clone()
    after = PeftModel.from_pretrained(base, folder / "out")(ids).logits
    assert not torch.allclose(before, after)


def test_the_same_seed_gives_the_same_weights(
    trained: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, _ = trained
    file = job_file(tmp_path)
    command = [sys.executable, "-X", "importtime", "-m", "trainers", str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        imported = {line.rpartition("|")[2].strip() for line in process.stderr}
        assert process.wait(BOUND_SECONDS) == 0
    assert "peft" in imported
    large = {"bitsandbytes.nn", "torch._dynamo.eval_frame", "torch._inductor"}
    assert not large & imported, "what takes seconds to load"
    first = load_file(folder / "out" / "adapter_model.safetensors")
    second = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)


def test_the_run_is_tracked_with_the_fields_of_the_plan(
    trained: tuple[Path, list[dict[str, Any]]],
) -> None:
    import mlflow

    folder, _ = trained
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    [run] = mlflow.search_runs(experiment_names=["distillation"], output_format="list")
    assert run.data.params["phase"] == "distillation"
    assert {"training_loss", "delta_w_norm", "kept_back_loss", "seconds"} <= set(run.data.metrics)


def test_nothing_that_passed_is_nothing_to_distill(tmp_path: Path) -> None:
    code, events = train(job_file(tmp_path, outcome="exhausted"))
    assert code == 1
    assert events[-1]["event"] == "error" and events[-1]["code"] == "nothing_to_distill"
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()


def test_a_base_model_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    code, events = train(job_file(tmp_path, base_model_path=str(tmp_path / "nowhere")))
    assert code == 1 and events[-1]["code"] == "base_model_not_found"


def test_a_trainer_ends_when_its_stdin_closes(tmp_path: Path) -> None:
    file = job_file(tmp_path, max_steps=100_000)
    with subprocess.Popen(
        [sys.executable, "-m", "trainers", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert json.loads(process.stdout.readline())["event"] == "progress"
        process.stdin.close()
        assert process.wait(BOUND_SECONDS) != 0
