"""The `rune` command as a user runs it: a process, its output and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from engine_support import base_model_folder, draft, engines

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.models import MemoryStatus


def rune(config: RuneConfig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `rune` in this home."""
    environment = {
        **os.environ,
        "RUNE_HOME": str(config.home),
        "RUNE_BASE_MODEL": config.base_model,
        "RUNE_IDLE_SECONDS": str(config.idle_seconds),
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "rune_engine.cli.main", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_version_starts_nothing(config: RuneConfig) -> None:
    shown = rune(config, "--version")
    assert shown.stdout.split() == ["rune", rune_engine.__version__]
    assert not config.home.exists()


def test_help_names_every_command(config: RuneConfig) -> None:
    shown = rune(config, "--help").stdout
    names = ("status", "record", "distill", "engine", "jobs", "adapters", "run", "demo", "project")
    assert [name for name in names if name not in shown] == []


def test_the_engine_is_started_shown_and_stopped(config: RuneConfig) -> None:
    assert rune(config, "engine", "status").returncode == 3
    assert rune(config, "engine", "start").returncode == 0
    health = json.loads(rune(config, "engine", "status", "--json").stdout)
    assert [engine.pid for engine in engines(config)] == [health["pid"]]
    assert rune(config, "engine", "stop").stdout == "Engine stopped.\n"
    assert rune(config, "engine", "stop").stdout == "No engine was running.\n"


def test_sessions_are_recorded_distilled_and_listed(config: RuneConfig, tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    file.write_text(json.dumps([draft(n).model_dump(mode="json") for n in range(2)]))
    assert len(rune(config, "record", str(file)).stdout.splitlines()) == 2
    assert "was there already" in rune(config, "record", str(file)).stdout
    model = str(base_model_folder(tmp_path))
    distilled = rune(config, "distill", "shop", "--base-model", model)
    assert distilled.returncode == 0, distilled.stderr
    status = MemoryStatus.model_validate_json(rune(config, "status", "--json").stdout)
    assert (status.trajectories, status.adapters) == (2, 1)
    page = json.loads(rune(config, "adapters", "list", "--json").stdout)
    adapter_id = page["adapters"][0]["id"]
    assert adapter_id in distilled.stdout
    assert adapter_id in rune(config, "adapters", "list").stdout
    assert "tiny-base" in rune(config, "adapters", "show", adapter_id).stdout
    job = json.loads(rune(config, "jobs", "list", "--json").stdout)
    assert job["status"] == "succeeded"
    assert adapter_id in rune(config, "jobs", "show", job["id"]).stdout
    assert "succeeded" in rune(config, "jobs", "cancel", job["id"]).stdout


def test_errors_are_a_sentence_and_a_next_step(config: RuneConfig, tmp_path: Path) -> None:
    missing = rune(config, "adapters", "show", "no-such-adapter")
    empty = rune(config, "distill", "empty", "--base-model", str(base_model_folder(tmp_path)))
    absent = rune(config, "record", str(tmp_path / "absent.json"))
    wrong = rune(config, "distill", "?etc")
    nowhere = rune(config, "distill", "./no/such/folder")
    for ended in (missing, empty, absent, wrong, nowhere):
        assert ended.returncode == 1 and ended.stdout == ""
        assert ended.stderr and "Traceback" not in ended.stderr
    assert "no-such-adapter" in missing.stderr and "List the adapters" in missing.stderr
    assert "nothing to distill" in empty.stderr
    assert "absent.json" in absent.stderr
    assert "project_id" in wrong.stderr
    assert "no/such/folder" in nowhere.stderr


def test_a_failed_distillation_shows_the_trainers_error(config: RuneConfig, tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    file.write_text(draft().model_dump_json())
    rune(config, "record", str(file))
    model = str(base_model_folder(tmp_path, "refuse"))
    failed = rune(config, "distill", "shop", "--base-model", model)
    assert failed.returncode == 1
    assert "The loss is not finite." in failed.stderr and "Traceback" not in failed.stderr
