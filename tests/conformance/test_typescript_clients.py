"""The clients of MCP's TypeScript SDK, which most editors are built with: both lines of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance_serving import serving
from engine_support import ADD_TESTS

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.secret_file import own_secret
from rune_mcp.tools import TOOLS

Run = Callable[..., subprocess.CompletedProcess[str]]
CLIENT = Path(__file__).with_name("typescript_client.mjs")
INVALID_PARAMS = -32602


@pytest.fixture
def saw(node: Run, node_modules: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the client; what it saw."""
    script = shutil.copy(CLIENT, tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)

    def run(**given: Any) -> dict[str, Any]:
        done = node(script, json.dumps({**given, "tests": ADD_TESTS}))
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    return run


@pytest.fixture
def http(server_environment: dict[str, str]) -> Iterator[str]:
    """The address of `rune-mcp --http`."""
    command = [sys.executable, "-m", "rune_mcp.server", "--http", "--port", "0"]
    with serving(command, server_environment) as address:
        yield address


@pytest.mark.parametrize(("sdk", "era"), [("v1", "legacy"), ("v2", "legacy"), ("v2", "auto")])
async def test_over_stdio_it_lists_calls_sees_progress_and_cancels(
    sdk: str,
    era: str,
    saw: Callable[..., dict[str, Any]],
    server_environment: dict[str, str],
    config: RuneConfig,
) -> None:
    before = await _cancelled_jobs(config)
    command = [sys.executable, "-m", "rune_mcp.server"]
    _assert_sound(saw(sdk=sdk, era=era, command=command, env=server_environment))
    assert await _cancelled_jobs(config) == before + 1


@pytest.mark.parametrize(("sdk", "era"), [("v1", "legacy"), ("v2", "auto")])
async def test_over_http_it_lists_calls_sees_progress_and_cancels(
    sdk: str, era: str, saw: Callable[..., dict[str, Any]], http: str, config: RuneConfig
) -> None:
    before = await _cancelled_jobs(config)
    _assert_sound(saw(sdk=sdk, era=era, url=http, token=own_secret(config.mcp_token_path)))
    assert await _cancelled_jobs(config) == before + 1


def _assert_sound(seen: dict[str, Any]) -> None:
    assert seen["server"]["name"] == "rune"
    assert set(TOOLS) <= set(seen["tools"])
    assert seen["answer"]["structuredContent"]["result"]["tests_passed"] is True
    reported = [progress["progress"] for progress in seen["progress"]]
    assert len(reported) > 2 and reported == sorted(set(reported))
    assert seen["unknown"]["code"] == INVALID_PARAMS
    assert seen["cancelled"]["message"].endswith("enough")
    assert "running" not in seen["jobs"]


async def _cancelled_jobs(config: RuneConfig) -> int:
    async with EngineClient(config) as engine:
        return (await engine.status()).jobs.get("cancelled", 0)
