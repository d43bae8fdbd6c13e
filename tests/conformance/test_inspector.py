"""MCP Inspector's command line against `rune-mcp` over stdio, in both protocol eras."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rune_mcp.tools import TOOLS

Run = Callable[..., subprocess.CompletedProcess[str]]
Inspect = Callable[..., dict[str, Any]]
ERAS = ["legacy", "modern"]


@pytest.fixture
def inspect(node: Run, node_modules: Path, server_environment: dict[str, str]) -> Inspect:
    """Asks the server for one thing; the Inspector must find nothing wrong with it."""
    script = node_modules / ".bin" / "mcp-inspector"
    given = [
        part for name, value in server_environment.items() for part in ("-e", f"{name}={value}")
    ]

    def run(era: str, *arguments: str) -> dict[str, Any]:
        command = ["--cli", sys.executable, "-m", "rune_mcp.server", *given]
        settings = ("--protocol-era", era, "--connect-timeout", "100000", "--format", "json")
        done = node(script, *command, *settings, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        # With --strict what is not portable in a schema is told there, mere warnings too.
        assert "Issue:" not in done.stderr, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)["result"]
        return answer

    return run


@pytest.mark.parametrize("era", ERAS)
def test_it_finds_nothing_wrong_with_the_tools(inspect: Inspect, era: str) -> None:
    listed = inspect(era, "--method", "tools/list", "--strict")
    assert set(TOOLS) <= {tool["name"] for tool in listed["tools"]}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["resources", "prompts"])
def test_it_lists_what_else_there_is(inspect: Inspect, era: str, kind: str) -> None:
    assert kind in inspect(era, "--method", f"{kind}/list")


@pytest.mark.parametrize("era", ERAS)
def test_it_calls_a_tool(inspect: Inspect, server_environment: dict[str, str], era: str) -> None:
    called = inspect(era, "--method", "tools/call", "--tool-name", "memory_status")
    assert called["structuredContent"]["home"] == server_environment["RUNE_HOME"]
