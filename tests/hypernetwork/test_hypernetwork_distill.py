"""A hypernetwork's distillation: where it begins, what it shares, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import closed_form_support as support
import pytest
import torch
from safetensors.torch import load, load_file, save_file

from base_models import hypernetworks
from base_models.hypernetworks import FOLDER
from rune_engine.errors import BaseModelCorruptedError, RuneError, TrainingError
from rune_engine.models import TrainerJob, TrainerResult

A = "base_model.model.model.layers.1.mlp.down_proj.lora_"


@pytest.fixture(scope="module")
def done(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainerJob, TrainerResult]:
    # The sessions after the first two are short enough to be kept as they were read.
    taught = support.trajectories(8)[2:]
    job = support.job_in(tmp_path_factory.mktemp("done"), base, taught, method="hypernetwork")
    return job, support.run(job)


def copied(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    return folder


def update_of(job: TrainerJob) -> torch.Tensor:
    found = load(support.weights_of(job))
    return found[f"{A}B.weight"] @ found[f"{A}A.weight"]


def test_it_reports_what_it_did(done: tuple[TrainerJob, TrainerResult]) -> None:
    _, result = done
    assert (result.method, result.steps, result.newly_read) == ("hypernetwork", 0, 6)
    assert result.rank == support.HIDDEN and result.delta_w_norm > 0
    assert result.estimated_memory_bytes > 0
    assert result.kept_back_loss is None  # the base model asks for one part


def test_untrained_it_makes_the_closed_forms_adapter_and_reads_nothing_again(
    done: tuple[TrainerJob, TrainerResult], base: Path, tmp_path: Path
) -> None:
    job, _ = done
    assert job.statistics_path is not None
    taught = support.trajectories(8)[2:]
    closed = support.job_in(tmp_path, base, taught, statistics_path=job.statistics_path)
    assert support.run(closed).newly_read == 0
    update, wanted = update_of(job), update_of(closed)
    assert float((update - wanted).norm() / wanted.norm()) < 0.01


def test_parts_that_were_left_out_judge_it(base: Path, tmp_path: Path) -> None:
    other = copied(base, tmp_path / "base")
    (other / "rune.json").write_text('{"id": "tiny"}')
    result = support.run(support.job_in(tmp_path, other, method="hypernetwork"))
    assert result.kept_back_loss is not None and result.kept_back_loss_before is not None
    assert 0 < result.kept_back_loss_before <= 3.0
    assert result.kept_back_loss != result.kept_back_loss_before


def test_its_adapter_is_one_of_the_usual_kind(done: tuple[TrainerJob, TrainerResult]) -> None:
    job, result = done
    config = json.loads((Path(job.output_path) / "adapter_config.json").read_bytes())
    assert config["target_modules"] == ["layers.1.mlp.down_proj"]
    assert config["r"] == config["lora_alpha"] == result.rank


def refusal(base: Path, folder: Path) -> RuneError:
    with pytest.raises(RuneError) as caught:
        support.run(support.job_in(folder, base, method="hypernetwork"))
    assert "closed_form" in str(caught.value.next_step)
    return caught.value


def test_a_base_model_without_one_is_told(plain_base: Path, tmp_path: Path) -> None:
    assert hypernetworks.of_base(plain_base) is None
    error = refusal(plain_base, tmp_path)
    assert isinstance(error, TrainingError) and "has no hypernetwork" in error.message


def test_one_that_was_made_for_other_weights_is_told(base: Path, tmp_path: Path) -> None:
    other = copied(base, tmp_path / "base")
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"] *= 1.5
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    error = refusal(other, tmp_path)
    assert isinstance(error, TrainingError) and "other weights" in error.message


@pytest.mark.parametrize("harm", ["weights", "settings", "half", "foreign settings"])
def test_a_damaged_one_is_told(base: Path, tmp_path: Path, harm: str) -> None:
    other = copied(base, tmp_path / "base")
    weights, described = (other / FOLDER / name for name in (hypernetworks.WEIGHTS, _DESCRIBED))
    if harm == "weights":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif harm == "half":
        weights.unlink()
    elif harm == "settings":
        described.write_text("{")
    else:
        told = json.loads(described.read_bytes())
        told["settings"]["targets"] = ["layers.0.mlp.down_proj", "layers.1.mlp.down_proj"]
        described.write_text(json.dumps(told))
    assert isinstance(refusal(other, tmp_path), BaseModelCorruptedError)


_DESCRIBED = hypernetworks.DESCRIPTION


def test_too_little_memory_is_told(base: Path, tmp_path: Path) -> None:
    job = support.job_in(tmp_path, base, method="hypernetwork", memory_limit_bytes=1)
    with pytest.raises(TrainingError, match="its limit leaves"):
        support.run(job)
