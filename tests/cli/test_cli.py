"""The `rune` command as a user runs it: a process, its output and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from adapter_files import draft as adapter_draft
from adapter_files import weights
from engine_support import ADD_TESTS, base_model_folder, draft, engines

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.jobs.store import JobStore
from rune_engine.models import MemoryStatus
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


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
    asked = ("adapters", "route", "--base-model", model, "--task", "Add two numbers, 7.")
    answer = json.loads(rune(config, *asked, "--project", "shop", "--json").stdout)
    assert answer["adapter"]["id"] == adapter_id and answer["candidates"][0]["nearness"] > 0
    assert "not evaluated yet" in rune(config, *asked, "--project", "shop").stdout
    assert "No project was named" in rune(config, *asked).stdout
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


def test_a_file_is_imported_and_its_bad_lines_are_named(config: RuneConfig, tmp_path: Path) -> None:
    file = tmp_path / "sessions.jsonl"
    file.write_text(draft(0).model_dump_json() + "\nno json\n" + draft(1).model_dump_json())
    shown = rune(config, "import", str(file))
    assert shown.returncode == 0, shown.stderr
    assert "line 2: " in shown.stdout
    fields = dict(line.split() for line in shown.stdout.splitlines()[:3])
    assert fields == {"stored": "2", "duplicates": "0", "refused": "1"}
    missing = rune(config, "import", str(tmp_path / "absent.jsonl"))
    assert missing.returncode == 1 and "absent.jsonl" in missing.stderr


def test_an_adapter_is_evaluated_and_a_failed_job_repeated(
    config: RuneConfig, tmp_path: Path
) -> None:
    held_out = draft(0, held_out=True, test_suite=ADD_TESTS)
    database = open_database(config)
    TrajectoryStore(database).record(held_out)
    scope = {"id": "judged", "project_id": "shop", "base_model_id": "scripted"}
    AdapterRegistry(database, config).store(adapter_draft(**scope), weights())
    failed = JobStore(database).enqueue("evaluate", {"adapter_id": "nobody"})
    database.close()
    shown = rune(config, "eval", "judged", "--out-of-domain", "0")
    assert shown.returncode == 0, shown.stderr
    assert "Unevaluated: 1 of 1" in shown.stdout and shown.stdout.count("passed") == 2
    again = rune(config, "jobs", "retry", failed.id)
    assert again.returncode == 0 and again.stdout.strip() != failed.id, again.stderr
    listed = rune(config, "jobs", "list").stdout
    assert "1 of 3" in listed and again.stdout.strip() in listed
    unknown = rune(config, "eval", "nobody")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr


def test_a_failed_distillation_shows_the_trainers_error(config: RuneConfig, tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    file.write_text(draft().model_dump_json())
    rune(config, "record", str(file))
    model = str(base_model_folder(tmp_path, "refuse"))
    failed = rune(config, "distill", "shop", "--base-model", model)
    assert failed.returncode == 1
    assert "The loss is not finite." in failed.stderr and "Traceback" not in failed.stderr


def test_an_adapter_is_exported_without_an_engine(config: RuneConfig, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    database = open_database(config)
    try:
        stored = AdapterRegistry(database, config).store(adapter_draft(), weights())
    finally:
        database.close()
    out = tmp_path / "out"
    done = rune(config, "adapters", "export", stored.id, "--to", "peft", "--out", str(out))
    assert (done.returncode, done.stdout.strip()) == (0, str(out))
    assert (out / "adapter_model.safetensors").is_file()
    again = rune(config, "adapters", "export", stored.id, "--to", "peft", "--out", str(out))
    assert again.returncode == 1 and "exists already" in again.stderr
    missing = rune(config, "adapters", "export", "nobody", "--to", "gguf", "--out", f"{out}.gguf")
    assert missing.returncode == 1 and "no adapter nobody" in missing.stderr
    assert not config.lock_path.exists()
