"""A small distillation of rune-nano, as the engine starts it: a job file and a subprocess.

Its steps are of few examples: what a step does is the same as with many.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from nano_support import nano

import base_models
from project_worlds import make_project, make_sessions
from rune_engine.models import Attempt, TrainerJob, Trajectory

BASE = base_models.describe("rune-nano")
BOUND_SECONDS = 240
FINISH_STEPS = 6
FEW = {"batch_size": 4, "rehearsal": 2, "finish_steps": FINISH_STEPS}


def write_trajectories(file: Path, outcome: str = "success") -> None:
    lines = []
    for number, session in enumerate(make_sessions(make_project(5), 12)):
        attempts = [
            Attempt(generated_code=code, stderr="wrong", tests_passed=code == session.task.solution)
            for code in session.attempts
        ]
        lines.append(
            Trajectory.model_validate(
                {
                    "id": f"t{number}",
                    "session_id": "s1",
                    "content_hash": "0" * 64,
                    "created_at": "2026-01-01T00:00:00Z",
                    "project_id": "p",
                    "task_description": session.task.description,
                    "outcome": outcome,
                    "attempts": attempts,
                }
            ).model_dump_json()
        )
    file.write_text("\n".join(lines), encoding="utf-8")


def job_file(folder: Path, **changes: Any) -> Path:
    (folder / "out").mkdir(exist_ok=True)
    write_trajectories(folder / "trajectories.jsonl", changes.pop("outcome", "success"))
    job = TrainerJob.model_validate(
        {
            "job_id": "j1",
            "project_id": "p",
            "base_model_id": BASE.id,
            "base_model_path": str(nano(folder / "base", **FEW)),
            "trajectories_path": str(folder / "trajectories.jsonl"),
            "output_path": str(folder / "out"),
            "max_steps": 12,
            **changes,
        }
    )
    file = folder / "job.json"
    file.write_text(job.model_dump_json(), encoding="utf-8")
    return file


def train(file: Path) -> tuple[int, list[dict[str, Any]]]:
    with subprocess.Popen(
        [sys.executable, "-m", "trainers", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        events = [json.loads(line) for line in process.stdout]
        return process.wait(BOUND_SECONDS), events
