"""Base models, trajectories and jobs for the tests of the closed form."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import base_models
from project_worlds import make_project, make_sessions
from rune_engine.models import Attempt, TrainerJob, TrainerResult, Trajectory
from trainers.__main__ import distill

HIDDEN, WIDTH = 32, 64
NANO = base_models.describe("rune-nano").path


def make_base(folder: Path, seed: int = 0, *, tied: bool = True) -> Path:
    """A random Qwen2 of two layers with rune-nano's tokenizer."""
    folder.mkdir()
    for file in (*NANO.glob("*token*"), *NANO.glob("*.jinja")):
        shutil.copy(file, folder)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=1024,
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        initializer_range=0.2,
        tie_word_embeddings=tied,
        pad_token_id=0,
        eos_token_id=2,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def trajectories(count: int = 6, outcome: str = "success") -> list[Trajectory]:
    """Sessions of a generated project; of the first two, the first attempt failed."""
    found = []
    for number, session in enumerate(make_sessions(make_project(5), 12)[:count]):
        right = Attempt(generated_code=session.task.solution, tests_passed=True)
        wrong = Attempt(generated_code="pass", stderr="NameError: nothing", tests_passed=False)
        draft = {
            "id": f"t{number}",
            "session_id": f"s{number}",
            "content_hash": hashlib.sha256(session.task.description.encode()).hexdigest(),
            "created_at": "2026-01-01T00:00:00Z",
            "project_id": "p",
            "task_description": session.task.description,
            "outcome": outcome,
            "attempts": [wrong, right] if number < 2 else [right],
        }
        found.append(Trajectory.model_validate(draft))
    return found


def job_in(
    folder: Path, base: Path, taught: Sequence[Trajectory] | None = None, **changes: Any
) -> TrainerJob:
    """A job that keeps its statistics in `folder`."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    lines = [t.model_dump_json() for t in (trajectories() if taught is None else taught)]
    (folder / "trajectories.jsonl").write_text("\n".join(lines), encoding="utf-8")
    given = {
        "job_id": "j1",
        "method": "closed_form",
        "project_id": "p",
        "base_model_id": "tiny",
        "base_model_path": str(base),
        "trajectories_path": str(folder / "trajectories.jsonl"),
        "output_path": str(folder / "out"),
        "statistics_path": str(folder / "statistics"),
    }
    return TrainerJob.model_validate({**given, **changes})


def run(job: TrainerJob) -> TrainerResult:
    """Carry the job out in this process; its progress has to rise."""
    told: list[float] = [0.0]

    def report(fraction: float, _message: str) -> None:
        assert told[-1] <= fraction <= 1.0
        told.append(fraction)

    return distill(job, report)


def weights_of(job: TrainerJob) -> bytes:
    return (Path(job.output_path) / "adapter_model.safetensors").read_bytes()


def files_of(job: TrainerJob) -> list[Path]:
    """The kept trajectories."""
    assert job.statistics_path is not None
    found = Path(job.statistics_path).glob("*/*.safetensors")
    return sorted(path for path in found if path.name != "known.safetensors")
