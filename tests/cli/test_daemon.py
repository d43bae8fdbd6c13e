"""`rune daemon` and `rune history` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_support import base_model_folder, draft, engines, is_alive, wait_until
from test_cli import rune

from rune_engine.config import RuneConfig
from rune_engine.starter import EXIT_ALREADY_RUNNING, is_listening


def environment(config: RuneConfig) -> dict[str, str]:
    """Short idle times: whoever goes on beyond them, stays."""
    return {
        **os.environ,
        "RUNE_HOME": str(config.home),
        "RUNE_BASE_MODEL": config.base_model,
        "RUNE_IDLE_SECONDS": "0.5",
    }


@pytest.fixture
def staying(config: RuneConfig) -> Iterator[subprocess.Popen[str]]:
    """`rune daemon run`, ready."""
    command = [sys.executable, "-m", "rune_engine.cli.main", "daemon", "run"]
    process = subprocess.Popen(
        command, env=environment(config), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: is_listening(config), "the engine listens")
    yield process
    process.kill()
    process.communicate(timeout=60)


def status(config: RuneConfig) -> dict[str, object]:
    shown = rune(config, "daemon", "status", "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, object] = json.loads(shown.stdout)
    return found


def test_it_stays_and_says_what_it_would_do(
    config: RuneConfig, staying: subprocess.Popen[str]
) -> None:
    assert status(config)["stays"] is True
    shown = rune(config, "daemon", "status").stdout
    assert f"pid {staying.pid}, stays" in shown and "cannot distill" in shown
    # A second one sees that it is not needed, and the first has outlived its idle time by then.
    second = rune(config, "daemon", "run")
    assert second.returncode == EXIT_ALREADY_RUNNING and "already" in second.stderr
    assert staying.poll() is None


def test_a_signal_ends_it_cleanly(config: RuneConfig, staying: subprocess.Popen[str]) -> None:
    staying.send_signal(signal.SIGTERM)
    assert staying.wait(timeout=60) == 0
    assert not config.socket_path.exists()


def test_without_an_engine_the_status_says_so_and_starts_none(config: RuneConfig) -> None:
    shown = rune(config, "daemon", "status")
    assert shown.returncode == 3 and "not running" in shown.stdout
    assert rune(config, "daemon", "status", "--json").stdout == "null\n"
    assert not engines(config)


def test_one_that_was_started_on_demand_makes_way(config: RuneConfig) -> None:
    assert rune(config, "engine", "start").returncode == 0
    (on_demand,) = engines(config)
    assert status(config)["stays"] is False
    command = [sys.executable, "-P", "-m", "rune_engine.service", "--stay"]
    staying = subprocess.Popen(command, env=environment(config))
    try:
        wait_until(lambda: not is_alive(on_demand.pid), "the other engine is gone")
        wait_until(lambda: is_listening(config), "the new one listens")
        assert status(config)["stays"] is True
        assert staying.poll() is None
    finally:
        staying.terminate()
        assert staying.wait(timeout=60) == 0


def test_the_log_is_shown_and_followed(config: RuneConfig, tmp_path: Path) -> None:
    assert "no log" in rune(config, "daemon", "logs").stderr
    log = config.logs_path / "engine.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(9)))
    assert rune(config, "daemon", "logs", "-n", "2").stdout == "line 7\nline 8\n"
    seen = tmp_path / "seen"
    command = [sys.executable, "-m", "rune_engine.cli.main", "daemon", "logs", "-f", "-n", "1"]
    with seen.open("w") as output:
        # What runs these tests in the background may have them ignore Ctrl-C, which is inherited.
        following = subprocess.Popen(
            command,
            env=environment(config),
            stdout=output,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        wait_until(lambda: seen.read_text() == "line 8\n", "the end is shown")
        with log.open("a") as more:
            more.write("more\n")
        wait_until(lambda: seen.read_text() == "line 8\nmore\n", "what is new is shown")
        log.rename(log.with_suffix(".log.1"))
        log.write_text("rotated\n")
        wait_until(lambda: seen.read_text().endswith("more\nrotated\n"), "the new file is shown")
    finally:
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=60) == 0


def test_history_tells_of_events_and_jobs(config: RuneConfig, tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    file.write_text(draft().model_dump_json())
    rune(config, "record", str(file))
    model = str(base_model_folder(tmp_path))
    assert rune(config, "distill", "shop", "--base-model", model).returncode == 0
    base_model_folder(tmp_path, "refuse")
    rune(config, "distill", "shop", "--base-model", model)
    lines = rune(config, "history", "--project", "shop").stdout
    assert "was stored (job" in lines and "distill job" in lines
    assert "failed: The loss is not finite." in lines
    entries = [json.loads(line) for line in rune(config, "history", "--json").stdout.splitlines()]
    kinds = [entry["kind"] for entry in entries]
    assert kinds[0] == "job_failed" and {"adapter_stored", "job_succeeded"} <= set(kinds)
    assert [entry["at"] for entry in entries] == sorted((e["at"] for e in entries), reverse=True)
    assert "shop" not in rune(config, "history", "--project", "bank").stdout
