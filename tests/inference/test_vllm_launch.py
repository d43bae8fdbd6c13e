"""`rune vllm serve`: the command line, a server that dies, and one that is told to end.

The server here is a small script in vLLM's place: what is tested is who starts and ends it.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import base_models
from rune_engine.errors import BackendUnavailableError, InvalidInputError
from rune_engine.inference.vllm.command import ServerSettings, command, environment
from rune_engine.inference.vllm.launch import ServerProcess

MODEL = base_models.shipped()[0]
SCRIPT = """#!/bin/sh
echo "arguments: $@"
exec {python} -c '
import http.server, subprocess, sys
subprocess.Popen(["sleep", "600"])
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    {answering}
http.server.HTTPServer(("127.0.0.1", {port}), Healthy).serve_forever()
'
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def script(folder: Path, text: str) -> str:
    file = folder / "python"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o700)
    return str(file)


def healthy_server(port: int, answering: str = "do_POST = do_GET") -> str:
    return SCRIPT.format(python=sys.executable, port=port, answering=answering)


def settings(python: str, port: int) -> ServerSettings:
    return ServerSettings(python, "tiny", Path("/models/tiny"), port, max_rank=9)


def serve(python: str, port: int, home: Path, *more: str) -> subprocess.Popen[str]:
    words = ["--python", python, "--port", str(port), "--base-model", MODEL, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "rune_engine.cli.main", "vllm", "serve", *words],
        env={**os.environ, "RUNE_HOME": str(home), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_has_what_rune_needs(port: int) -> None:
    words = command(settings("python3", port))
    assert words[:4] == ["python3", "-P", "-m", "vllm.entrypoints.openai.api_server"]
    given = dict(zip(words[4::2], words[5::2], strict=False))
    assert given["--host"] == "127.0.0.1"
    assert given["--max-lora-rank"] == "16"
    assert int(given["--max-cpu-loras"]) >= int(given["--max-loras"])
    assert "--enable-lora" in words


@pytest.mark.parametrize(
    "word", ["--host=0.0.0.0", "--host", "--hos", "--uds", "--served_model_name"]
)
def test_what_is_runes_to_give_cannot_be_given_otherwise(port: int, word: str) -> None:
    with pytest.raises(InvalidInputError, match="Rune's to give"):
        command(ServerSettings("python3", "tiny", Path("/m"), port, extra=(word, "x")))


def test_the_server_gets_its_own_python_path_and_can_load_adapters() -> None:
    given = environment({"PYTHONPATH": "/ours", "VIRTUAL_ENV": "/ours", "PATH": "/bin"})
    assert "PYTHONPATH" not in given and "VIRTUAL_ENV" not in given
    assert given["PATH"] == "/bin"
    assert given["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"


def test_print_shows_the_command_and_starts_nothing(port: int, tmp_path: Path) -> None:
    shown, _ = serve("/nowhere/python", port, tmp_path, "--print").communicate(timeout=60)
    assert shlex.split(shown)[0] == "/nowhere/python"
    assert str(port) in shlex.split(shown)


def test_a_server_that_dies_shows_the_end_of_its_log(port: int, tmp_path: Path) -> None:
    dying = script(tmp_path, "#!/bin/sh\necho 'No module named vllm'\nexit 3\n")
    started = serve(dying, port, tmp_path)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 1
    assert "ended with status 3" in said and "No module named vllm" in said


def test_a_server_that_is_never_ready_is_ended(port: int, tmp_path: Path) -> None:
    idle = script(tmp_path, "#!/bin/sh\nexec sleep 600\n")
    with ServerProcess(settings(idle, port), tmp_path / "log") as server:
        with pytest.raises(BackendUnavailableError, match="not ready"):
            server.wait_until_healthy(0.5)
        process = psutil.Process(server.pid)
    assert not process.is_running()


def test_a_server_that_is_healthy_but_does_not_answer_is_not_ready(
    port: int, tmp_path: Path
) -> None:
    mute = script(tmp_path, healthy_server(port, answering="pass"))
    with (
        ServerProcess(settings(mute, port), tmp_path / "log") as server,
        pytest.raises(BackendUnavailableError, match="does not answer"),
    ):
        server.wait_until_healthy(60)


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidInputError, match="is taken"):
            ServerProcess(settings("python3", taken.getsockname()[1]), tmp_path / "log")


def test_a_python_that_is_not_there_is_told(port: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be started"):
        ServerProcess(settings("/nowhere/python", port), tmp_path / "log")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_command(port: int, tmp_path: Path, number: signal.Signals) -> None:
    """A signal ends the server and its own children; a SIGKILL of ours at least the server."""
    healthy = script(tmp_path, healthy_server(port))
    started = serve(healthy, port, tmp_path)
    processes: list[psutil.Process] = []
    try:
        assert started.stdout is not None
        assert f"127.0.0.1:{port}" in started.stdout.readline()
        processes = psutil.Process(started.pid).children(recursive=True)
        assert len(processes) == 2
        started.send_signal(number)
        started.wait(60)
        expected = processes[:1] if number == signal.SIGKILL else processes
        _, alive = psutil.wait_procs(expected, timeout=30)
        assert alive == []
    finally:
        started.kill()
        started.communicate()
        for process in processes:
            if process.is_running():
                process.kill()
