"""How fast the MCP server starts and answers, next to a bare server of the same SDK.

    python -m benchmarks.mcp_startup [--spawns 15] [--adapters 10000] [--json FILE]

Start: from spawning the process until `tools/list` is answered, Rune's server and a bare one with
a single tool in turn, so that a busy machine slows both. Calls (`--adapters N`): the read tools
over a live stdio session and the real engine, with N adapter rows in a home of its own, next to
the bare server's one tool. The machine's own speed cancels out in the ratios; those are the result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
BARE_SERVER = """\
from mcp.server import MCPServer

server = MCPServer("bare", log_level="WARNING")


@server.tool(structured_output=True)
async def echo(text: str) -> str:
    return text


server.run()
"""
FORBIDDEN = (
    "torch", "transformers", "sqlalchemy", "sqlmodel", "fastapi", "typer", "rich", "langgraph",
    "httpx",
)  # fmt: skip
LIST_THE_TOOLS = """\
import asyncio, json, sys
from mcp import Client
from rune_mcp.server import build_server, attach


async def main() -> None:
    async with Client(build_server(attach)) as client:
        await client.list_tools()


asyncio.run(main())
print(json.dumps(sorted(sys.modules)))
"""


class Session:
    """One server process and the JSON-RPC lines to and from it."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=REPOSITORY
        )
        self._next_id = 0

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its result."""
        self._next_id += 1
        self._send({"id": self._next_id, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._next_id:
                return dict(answer["result"])
        raise RuntimeError(f"the server ended before it answered {method}")

    def initialize(self) -> None:
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "benchmark", "version": "1"},
        }
        self.request("initialize", params)
        self._send({"method": "notifications/initialized"})

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise RuntimeError(f"{tool}: {result['content']}")
        return dict(result["structuredContent"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()


@contextmanager
def session(command: list[str], env: dict[str, str]) -> Iterator[Session]:
    opened = Session(command, env)
    try:
        yield opened
    finally:
        opened.close()


def seconds_to_first_list(command: list[str], env: dict[str, str]) -> float:
    """Spawn a server and time it until `tools/list` is answered."""
    began = time.perf_counter()
    with session(command, env) as server:
        server.initialize()
        tools = server.request("tools/list", {})["tools"]
        took = time.perf_counter() - began
    assert tools
    return took


def measure_start(spawns: int, commands: dict[str, list[str]], env: dict[str, str]) -> Any:
    """Spawn every server in turn, after one unmeasured round that warms the disk's cache."""
    for command in commands.values():
        seconds_to_first_list(command, env)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(spawns):
        for name, command in commands.items():
            seconds[name].append(seconds_to_first_list(command, env))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {
        "spawns": spawns,
        "median_seconds": medians,
        "min_seconds": {name: min(taken) for name, taken in seconds.items()},
        "ratio_of_medians": medians["rune"] / medians["bare"],
        "ratio_of_minima": min(seconds["rune"]) / min(seconds["bare"]),
    }


def heavy_modules(env: dict[str, str]) -> list[str]:
    """The modules that Rune's server should not have loaded, and has, once its tools are listed."""
    run = subprocess.run(
        [sys.executable, "-c", LIST_THE_TOOLS],
        env=env, cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(set(FORBIDDEN) & set(json.loads(run.stdout)))


def milliseconds(call: Callable[[], object], times: int) -> dict[str, float]:
    """Median and 95th percentile of `times` calls, after five unmeasured ones."""
    for _ in range(5):
        call()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return {"p50": statistics.median(taken), "p95": statistics.quantiles(taken, n=20)[18]}


def measure_calls(
    adapters: int, calls: int, commands: dict[str, list[str]], env: dict[str, str]
) -> Any:
    """Time every read tool against the real engine with `adapters` rows in its registry."""
    sys.path.insert(0, str(REPOSITORY))  # works in a checkout that is not installed
    from benchmarks.adapter_rows import fill_registry

    ids = fill_registry(Path(env["RUNE_HOME"]), adapters)
    with session(commands["bare"], env) as bare, session(commands["rune"], env) as rune:
        bare.initialize()
        rune.initialize()
        status = rune.call("memory_status", {})
        assert status["adapters"] == adapters, status
        tools: dict[str, Callable[[], object]] = {
            "bare echo": lambda: bare.call("echo", {"text": "hello"}),
            "list_adapters": lambda: rune.call("list_adapters", {"offset": adapters // 2}),
            "get_adapter": lambda: rune.call("get_adapter", {"adapter_id": ids[adapters // 2]}),
            "retrieve_adapter": lambda: rune.call(
                "retrieve_adapter", {"project_id": "project-7", "domain": "domain-1"}
            ),
            "memory_status": lambda: rune.call("memory_status", {}),
        }
        measured = {name: milliseconds(call, calls) for name, call in tools.items()}
    floor = measured["bare echo"]["p50"]
    ratios = {name: taken["p50"] / floor for name, taken in measured.items()}
    return {"adapters": adapters, "calls": calls, "milliseconds": measured, "p50_over_bare": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--spawns", type=int, default=15)
    parser.add_argument("--adapters", type=int, default=0, help="0 leaves the calls out")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rune-benchmark-") as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE_SERVER, encoding="utf-8")
        script = Path(folder) / "script.json"
        script.write_text("[]", encoding="utf-8")
        env = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "RUNE_HOME": str(Path(folder) / "home"),
            "RUNE_BASE_MODEL": f"scripted:{script}",
            "RUNE_IDLE_SECONDS": "2",
        }
        commands = {
            "bare": [sys.executable, str(bare)],
            "rune": [sys.executable, "-m", "rune_mcp.server"],
        }
        results = {
            "heavy_modules_loaded": heavy_modules(env),
            "start": measure_start(options.spawns, commands, env),
        }
        if options.adapters:
            results["calls"] = measure_calls(options.adapters, options.calls, commands, env)
    print(json.dumps(results, indent=2))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    assert not results["heavy_modules_loaded"], results["heavy_modules_loaded"]


if __name__ == "__main__":
    main()
