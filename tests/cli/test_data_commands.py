"""`rune backup`, `rune restore` and `rune doctor` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

from test_cli import rune

from rune_engine.config import RuneConfig


def record(config: RuneConfig, tmp_path: Path, task: str) -> None:
    attempt = {"generated_code": f"# {task}", "tests_passed": True}
    file = tmp_path / "session.json"
    file.write_text(
        json.dumps(
            {
                "project_id": "shop",
                "task_description": task,
                "attempts": [attempt],
                "outcome": "success",
            }
        )
    )
    assert rune(config, "record", str(file)).returncode == 0


def trajectories(config: RuneConfig) -> int:
    status = json.loads(rune(config, "status", "--json").stdout)
    return int(status["trajectories"])


def test_a_memory_is_saved_while_in_use_and_brought_back(
    config: RuneConfig, tmp_path: Path
) -> None:
    record(config, tmp_path, "one")
    file = tmp_path / "memory.tar.gz"
    saved = rune(config, "backup", str(file), "--json")
    assert saved.returncode == 0, saved.stderr
    assert json.loads(saved.stdout)["trajectories"] == 1
    again = rune(config, "backup", str(file))
    assert again.returncode == 1 and "exists" in again.stderr
    record(config, tmp_path, "two")
    refused = rune(config, "restore", str(file), "--replace")
    assert refused.returncode == 1 and "rune engine stop" in refused.stderr
    assert rune(config, "engine", "stop").returncode == 0
    used = rune(config, "restore", str(file))
    assert used.returncode == 1 and "--replace" in used.stderr
    restored = rune(config, "restore", str(file), "--replace")
    assert restored.returncode == 0, restored.stderr
    assert trajectories(config) == 1
    history = rune(config, "history")
    assert "backup_restored" in history.stdout or "restored" in history.stdout


def test_the_doctor_tells_good_from_bad_by_its_exit_code(
    config: RuneConfig, tmp_path: Path
) -> None:
    machine = rune(config, "doctor", "--quick", "--json")
    checks = {check["name"]: check["status"] for check in json.loads(machine.stdout)["checks"]}
    assert machine.returncode == 0, machine.stdout
    assert checks["python"] == checks["sqlite"] == checks["base model"] == "good"
    record(config, tmp_path, "one")
    assert rune(config, "doctor", "--data").returncode == 0
    assert rune(config, "engine", "stop").returncode == 0
    (config.adapters_path / "nobody").mkdir()
    found = rune(config, "doctor", "--data")
    assert found.returncode == 1 and "adapters/nobody" in found.stdout
    assert "--repair" in found.stdout
    mended = rune(config, "doctor", "--data", "--repair", "--json")
    assert mended.returncode == 0, mended.stderr
    report = json.loads(mended.stdout)
    assert [finding["repaired"] for finding in report["findings"]] == [True]
    assert rune(config, "doctor", "--data").returncode == 0
    alone = rune(config, "doctor", "--repair")
    assert alone.returncode == 1 and "--data" in alone.stderr


def test_a_base_model_that_is_not_there_is_a_problem(config: RuneConfig) -> None:
    broken = config.model_copy(update={"base_model": "no-such-model"})
    ended = rune(broken, "doctor", "--quick")
    assert ended.returncode == 1
    assert "no-such-model" in ended.stdout and "rune-nano" in ended.stdout
