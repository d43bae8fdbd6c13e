"""`rune serve` as a user runs it: what it shows, what it answers, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine_support import WAIT_SECONDS, engines

from rune_engine.config import RuneConfig


def command(config: RuneConfig, *arguments: str) -> dict[str, Any]:
    """How to start `rune serve` in this home."""
    environment = {
        **os.environ,
        "RUNE_HOME": str(config.home),
        "RUNE_BASE_MODEL": config.base_model,
    }
    args = [sys.executable, "-m", "rune_engine.cli.main", "serve", *arguments]
    return {"args": args, "env": environment, "text": True, "cwd": Path(__file__).parent}


@contextmanager
def served(config: RuneConfig, *arguments: str) -> Iterator[dict[str, str]]:
    """What a running `rune serve --json` shows; Ctrl-C at the end."""
    process = subprocess.Popen(
        **command(config, "--json", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line, process.stderr and process.stderr.read()
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0


def run(config: RuneConfig, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        **command(config, *arguments), capture_output=True, timeout=WAIT_SECONDS, check=False
    )


def models(access: dict[str, str]) -> list[str]:
    request = urllib.request.Request(
        f"{access['base_url']}/models", headers={"authorization": f"Bearer {access['key']}"}
    )
    with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
        return [model["id"] for model in json.load(answer)["data"]]


def test_it_serves_until_ctrl_c_and_a_second_one_shows_the_first(config: RuneConfig) -> None:
    with served(config, "--port", "0", "--project", "shop") as access:
        assert access["model"] == "rune@shop"
        assert models(access) == ["rune", "rune:base"]
        second = run(config, "--project", "shop")
        assert second.returncode == 0, second.stderr
        for shown in (access["base_url"], access["key"], "openai/rune@shop", "apiBase", "Cline"):
            assert shown in second.stdout
    assert engines(config) == []


def test_a_port_that_is_taken_is_named_and_nothing_is_left(config: RuneConfig) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = run(config, "--port", str(port))
    assert refused.returncode == 1
    assert f"Port {port}" in refused.stderr and "--port" in refused.stderr
    assert engines(config) == []


def test_an_engine_that_stays_without_it_is_left_as_it_is(config: RuneConfig) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "rune_engine.service", "--stay", config.model_dump_json()],
        stdout=subprocess.PIPE,
    )
    try:
        assert daemon.stdout is not None and b"ready" in daemon.stdout.readline()
        refused = run(config, "--port", "0")
        assert refused.returncode == 1
        assert "openai_port" in refused.stderr and daemon.poll() is None
    finally:
        daemon.terminate()
        daemon.wait(timeout=WAIT_SECONDS)
