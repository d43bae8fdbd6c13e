"""The server over streamable HTTP: who comes in, in both protocol eras, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_support import ADD_TESTS, REPOSITORY, WAIT_SECONDS, scripted_config, text_of, until

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config
from rune_engine.secret_file import own_secret
from rune_mcp.command import run
from rune_mcp.http.serving import MAX_BODY_BYTES
from rune_mcp.tools import TOOLS

ERAS = ["auto", "legacy"]
INFO = {"name": "test", "version": "1"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO},
}
ACCEPT = {"accept": "application/json, text/event-stream"}


class Served:
    """A server process over HTTP, and clients of it."""

    def __init__(self, config: RuneConfig) -> None:
        self.config = config
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rune_mcp.server", "--http", "--port", "0"],
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(REPOSITORY),
                "RUNE_HOME": str(config.home),
                "RUNE_BASE_MODEL": config.base_model,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.token = own_secret(config.mcp_token_path)

    @asynccontextmanager
    async def client(self, mode: str = "auto") -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            create_mcp_http_client(headers) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
        ):
            yield client

    async def post(self, message: Any = INITIALIZE, **headers: str) -> httpx.Response:
        """What is answered to one message; the token is shown unless `headers` say otherwise."""
        sent = {**ACCEPT, "authorization": f"Bearer {self.token}", **headers}
        async with httpx.AsyncClient(timeout=WAIT_SECONDS) as http:
            kept = {name: value for name, value in sent.items() if value}
            return await http.post(self.url, json=message, headers=kept)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """The exit code after a signal, and what was written to stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=WAIT_SECONDS)
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that the tests of this module share."""
    config = scripted_config(tmp_path_factory.mktemp("http") / "home")
    server = Served(config)
    yield server
    assert server.end(signal.SIGINT)[0] == 0
    asyncio.run(_stop_engine(config))


async def _stop_engine(config: RuneConfig) -> None:
    async with EngineClient(config) as engine:
        await engine.stop()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:7864"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "localhost:evil"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer rune-of-somebody-else-and-quite-long"}, 401),
        ({"authorization": "Basic cnVuZTpydW5l"}, 401),
        ({"host": "evil.example", "authorization": ""}, 421),
        ({"origin": "https://evil.example", "authorization": ""}, 403),
    ],
)
async def test_strangers_are_refused(served: Served, headers: dict[str, str], status: int) -> None:
    answer = await served.post(**headers)
    assert answer.status_code == status
    assert answer.json()["id"] is None and answer.json()["error"]["message"]
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert served.token not in answer.text
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [{"host": "localhost"}, {"host": "[::1]:7864"}, {"origin": "http://localhost:6274"}],
)
async def test_this_machines_own_names_are_answered(
    served: Served, headers: dict[str, str]
) -> None:
    assert (await served.post(**headers)).status_code == 200


async def test_the_challenge_says_whether_a_token_was_shown(served: Served) -> None:
    nothing = await served.post(authorization="")
    wrong = await served.post(authorization="Bearer wrong")
    assert nothing.headers["www-authenticate"] == 'Bearer realm="rune"'
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
    assert "--show-token" in nothing.json()["error"]["message"]


async def test_no_other_path_is_served(served: Served) -> None:
    async with httpx.AsyncClient() as http:
        for path in ("/", "/.well-known/oauth-protected-resource", "/mcp/", "/docs"):
            answer = await http.get(served.url.removesuffix("/mcp") + path)
            assert answer.status_code == 404, path


async def test_a_request_that_is_too_large_is_refused_and_the_server_goes_on(
    served: Served,
) -> None:
    large = {**INITIALIZE, "padding": "x" * MAX_BODY_BYTES}
    assert (await served.post(large)).status_code == 413
    assert (await served.post(large, authorization="")).status_code == 401
    assert (await served.post()).status_code == 200


@pytest.mark.parametrize("mode", ERAS)
async def test_a_task_runs_over_http_in_both_protocol_eras(served: Served, mode: str) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    task = {"task_description": "right at the second try", "test_suite": ADD_TESTS}
    async with asyncio.timeout(WAIT_SECONDS), served.client(mode) as client:
        assert set(TOOLS) <= {tool.name for tool in (await client.list_tools()).tools}
        answer = await client.call_tool("run_task", task, progress_callback=hear)
        assert not answer.is_error, text_of(answer)
        assert answer.structured_content is not None
        assert answer.structured_content["result"]["tests_passed"] is True
    assert len(heard) > 2 and heard == sorted(set(heard))


async def test_several_clients_at_once_share_one_engine(served: Served) -> None:
    async def engine_pid(mode: str) -> int:
        async with served.client(mode) as client:
            calls = [client.call_tool("memory_status") for _ in range(5)]
            found = {
                answer.structured_content["engine_pid"]
                for answer in await asyncio.gather(*calls)
                if answer.structured_content is not None
            }
        (pid,) = found
        return int(pid)

    async with asyncio.timeout(WAIT_SECONDS):
        pids = await asyncio.gather(*(engine_pid(mode) for mode in ERAS * 3))
    assert len(set(pids)) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_leaving_a_call_stops_its_job(served: Served, mode: str) -> None:
    async with served.client(mode) as client, served.client() as other:
        before = await _jobs(other, "cancelled")
        call = asyncio.create_task(client.call_tool("run_task", {"task_description": "very slow"}))
        await until(lambda: _has(other, "running", 1))
        call.cancel()
        await until(lambda: _has(other, "cancelled", before + 1))
        assert await _jobs(other, "running") == 0


async def _jobs(client: Client, status: str) -> int:
    answer = await client.call_tool("memory_status")
    assert answer.structured_content is not None
    return int(answer.structured_content["jobs"].get(status, 0))


async def _has(client: Client, status: str, number: int) -> bool:
    return await _jobs(client, status) >= number


async def test_sigterm_ends_the_server_and_what_its_clients_wait_for(tmp_path: Path) -> None:
    config = scripted_config(tmp_path / "home")
    served = Served(config)
    slow = {"task_description": "very slow"}
    async with EngineClient(config) as engine:
        async with served.client("auto") as modern, served.client("legacy") as legacy:
            calls = [
                asyncio.create_task(client.call_tool("run_task", slow))
                for client in (modern, legacy)
            ]

            async def both_run() -> bool:
                return (await engine.status()).jobs.get("running", 0) == 2

            await until(both_run)
            code, errors = await asyncio.to_thread(served.end)
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert code == 0, errors
        assert "Traceback" not in errors and served.token not in errors
        assert all(isinstance(answer, Exception) for answer in ended), ended
        jobs = (await engine.status()).jobs
        assert (jobs.get("cancelled"), jobs.get("running")) == (2, None)
        await engine.stop()


def test_the_token_is_made_once_for_this_user_alone_and_shown_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNE_HOME", str(tmp_path / "home"))
    assert [run(["--show-token"]), run(["--show-token"])] == [0, 0]
    first, again = capsys.readouterr().out.splitlines()
    assert first == again and len(first) > 40
    path = load_config().mcp_token_path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert run(["--show-token"]) == 1
    refused = capsys.readouterr()
    assert "other users may read it" in refused.err and not refused.out


def test_no_other_host_than_the_loopback_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNE_HOME", str(tmp_path / "home"))
    for host in ("0.0.0.0", "192.168.1.2", "::", "rune.example"):
        assert run(["--http", "--host", host]) == 1
        refused = capsys.readouterr()
        assert f"{host} is not an address of this machine alone" in refused.err
        assert not refused.out
    assert not (tmp_path / "home").exists()


def test_a_port_that_is_taken_is_told(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RUNE_HOME", str(tmp_path / "home"))
    port = served.url.split(":")[2].split("/")[0]
    assert run(["--http", "--port", port]) == 1
    assert f"Port {port} of 127.0.0.1 cannot be listened on" in capsys.readouterr().err


def test_over_stdio_nothing_of_it_is_loaded() -> None:
    code = (
        "import sys\n"
        "from rune_mcp.server import attach, build_server\n"
        "build_server(attach)\n"
        "ours = ('rune_mcp.http', 'rune_mcp.command', 'rune_engine.http_server')\n"
        "print([name for name in sys.modules if name.startswith(ours)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
