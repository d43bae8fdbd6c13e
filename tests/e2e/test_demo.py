"""The main job, whole: a real MCP client, server, engine, worker, trainer and sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
BOUND_SECONDS = 280


def _rune(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rune_engine.cli.main", *arguments],
        env={**os.environ, "RUNE_HOME": str(home), "RUNE_IDLE_SECONDS": "5"},
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
    )


def test_a_project_taught_once_is_remembered_in_weights(tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    done = _rune(
        "demo", "--projects", "1", "--tasks", "6", "--seed", "11",
        "--json", str(figures_file), home=tmp_path / "home",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(figures_file.read_text(encoding="utf-8"))
    assert figures["tasks"] == 12
    assert figures["base_pass_at_1"]["all"] <= 0.1
    assert figures["memory_pass_at_1"]["all"] >= figures["base_pass_at_1"]["all"] + 0.5
    [adapter] = figures["adapters"]
    assert (Path(figures["home"]) / "adapters" / adapter / "adapter_model.safetensors").is_file()


def test_a_suite_goes_through_the_server_and_every_trajectory_is_kept(tmp_path: Path) -> None:
    suite = tmp_path / "suite.jsonl"
    tasks = [
        {
            "task_id": f"T/{number}",
            "prompt": f"def add_{number}(x):\n",
            "canonical_solution": f"    return x + {number}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {number + 1}\n",
            "entry_point": f"add_{number}",
        }
        for number in range(3)
    ]
    suite.write_text("\n".join(json.dumps(task) for task in tasks), encoding="utf-8")
    home, results = tmp_path / "home", tmp_path / "results.json"
    done = _rune(
        "run", "--suite", str(suite), "--scripted-reference", "--json", str(results), home=home
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(results.read_text(encoding="utf-8"))
    assert [row["passed"] for row in rows] == [True] * 3
    assert len({row["trajectory_id"] for row in rows}) == 3


def test_a_missing_suite_is_one_clear_error(tmp_path: Path) -> None:
    done = _rune("run", "--suite", str(tmp_path / "none.jsonl"), home=tmp_path / "home")
    assert done.returncode == 1
    assert "none.jsonl" in done.stderr and "Traceback" not in done.stderr
