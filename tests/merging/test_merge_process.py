"""The door of the merging trainer: a job file in, JSON lines out, an adapter that is whole or not
there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from merging_support import job, write

from rune_engine.errors import MergeRefusedError, from_envelope
from rune_engine.models.merging import MergeJob, MergeResult

MANY = {f"model.layers.{number}.mlp.down_proj": (512, 512) for number in range(30)}


def start(folder: Path, asked: MergeJob) -> subprocess.Popen[str]:
    file = folder / "job.json"
    file.write_text(asked.model_dump_json(), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "trainers", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def events(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    assert process.stdout is not None
    with process:
        return [json.loads(line) for line in process.stdout]


def test_a_merge_that_is_killed_leaves_nothing_and_the_next_one_is_whole(tmp_path: Path) -> None:
    parents = [write(tmp_path, str(seed), seed, shapes=MANY) for seed in (1, 2)]
    asked = job(tmp_path, *parents, method="ties", dense_error=True)
    process = start(tmp_path, asked)
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if "3 of 30 modules" in line:
                process.kill()
                break
    assert process.returncode == -9
    output = Path(asked.output_path)
    assert not output.exists()
    *_, last = events(start(tmp_path, asked))
    assert last.pop("event") == "result"
    result = MergeResult.model_validate(last)
    assert (result.modules, result.rank) == (30, 8)
    assert result.dense_error is not None and result.dense_error > 0.1
    names = {path.name for path in output.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    assert not list(tmp_path.glob(".*"))


def test_a_refusal_crosses_to_the_engine_as_what_it_is(tmp_path: Path) -> None:
    parents = [write(tmp_path, "one", 1), write(tmp_path, "other", 2, use_dora=True)]
    *_, last = events(start(tmp_path, job(tmp_path, *parents)))
    assert last.pop("event") == "error"
    error = from_envelope(last)
    assert type(error) is MergeRefusedError and "is a DoRA" in error.message
