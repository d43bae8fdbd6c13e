"""Leaves a valid adapter of random weights; what it does is told by a file in the base model.

`behaviour` in the base model's folder is one word: `finish` (also when there is no file), `hang`,
`refuse` or `babble`. The pid is left in `trainer.pid` there, and that of a child in `child.pid`.
One that hangs leaves a checkpoint; one that finds it, of the same trajectories, says so by RESUMED.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from adapter_files import RANK, weights
from trainer_protocol import emit, end_with_stdin

from rune_engine.errors import TrainingError
from rune_engine.models import FAST_METHODS, TrainerJob, TrainerResult

RESUMED = 7777
"""The number of steps that a resumed training claims to have made."""


def train(job: TrainerJob) -> TrainerResult:
    adapter = weights(job.seed)
    assert isinstance(adapter.safetensors, bytes)
    output = Path(job.output_path)
    (output / "adapter_model.safetensors").write_bytes(adapter.safetensors)
    (output / "adapter_config.json").write_text(json.dumps(adapter.config))
    lines = Path(job.trajectories_path).read_text().splitlines()
    return TrainerResult(
        rank=RANK,
        examples=len(lines),
        steps=RESUMED if resumes(job) else job.max_steps or 1,
        training_loss=0.5,
        kept_back_loss=None,
        kept_back_loss_before=None,
        delta_w_norm=1.0,
        seconds=0.1,
        peak_memory_bytes=1,
        method=job.method if job.method in FAST_METHODS else "lora",
    )


def checkpoint_of(job: TrainerJob) -> Path:
    assert job.checkpoint_path is not None
    digest = hashlib.sha256(Path(job.trajectories_path).read_bytes()).hexdigest()
    return Path(job.checkpoint_path) / digest


def resumes(job: TrainerJob) -> bool:
    return checkpoint_of(job).exists()


def main() -> None:
    threading.Thread(target=end_with_stdin, daemon=True).start()
    job = TrainerJob.model_validate_json(Path(sys.argv[1]).read_text())
    folder = Path(job.base_model_path)
    control = folder / "behaviour"
    behaviour = control.read_text().strip() if control.exists() else "finish"
    emit("progress", fraction=0.5, message="half way")
    if behaviour == "hang":
        checkpoint_of(job).parent.mkdir(exist_ok=True)
        checkpoint_of(job).touch()
        child = subprocess.Popen(["sleep", "600"])
        (folder / "child.pid").write_text(str(child.pid))
        print("hanging as told", file=sys.stderr, flush=True)
        (folder / "trainer.pid").write_text(str(os.getpid()))
        child.wait()
    if behaviour == "refuse":
        emit("error", **TrainingError("The loss is not finite.").to_envelope())
        return
    if behaviour == "babble":
        print("no protocol\n" + "x" * (2 * 1024 * 1024), flush=True)
    emit("result", **train(job).model_dump())
