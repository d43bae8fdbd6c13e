"""A scripted home, and clients of the server in memory, over stdio and line by line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from mcp import Client, StdioServerParameters

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config
from rune_mcp.server import build_server

REPOSITORY = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 60.0
"""Bound of every wait; nothing here takes so long unless it hangs."""

RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
SCRIPT = [
    {"contains": "right at once", "answers": [RIGHT]},
    {"contains": "right at the second try", "answers": [WRONG, RIGHT]},
    {"contains": "never right", "answers": [WRONG]},
    {"contains": "very slow", "answers": [RIGHT], "delay_seconds": 300},
]
ADD_TESTS = "assert add(2, 3) == 5\n"


def scripted_config(home: Path, **overrides: Any) -> RuneConfig:
    """A configuration whose base model answers from `SCRIPT`."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    script = home.with_suffix(".script.json")
    script.write_text(json.dumps(SCRIPT), encoding="utf-8")
    return load_config(home=home, base_model=f"scripted:{script}", **overrides)


def in_memory(config: RuneConfig, mode: str = "auto") -> Client:
    """A client of a server in this process; the engine is real."""
    return Client(build_server(lambda: EngineClient(config)), mode=mode)


def over_stdio(environment: dict[str, str], mode: str = "auto") -> Client:
    """A client of a server process of its own."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "rune_mcp.server"], env=environment
    )
    return Client(command, mode=mode)


class RawServer:
    """A server process and its lines, for what no client would send."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        await self.process.stdin.drain()

    async def answer(self) -> dict[str, Any]:
        """The next line of the server."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            message: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return message

    async def request(self, number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self.send(json.dumps(message).encode())
        while (answer := await self.answer()).get("id") != number:
            pass
        return answer

    async def call(self, number: int, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await self.request(number, "tools/call", {"name": tool, "arguments": arguments})
        result: dict[str, Any] = answer["result"]
        return result

    async def initialize(self) -> None:
        info = {"name": "test", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
        await self.request(0, "initialize", params)
        await self.send(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')

    async def close_stdin(self) -> int:
        """Close the server's stdin and return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def raw_server(environment: dict[str, str]) -> AsyncIterator[RawServer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rune_mcp.server",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        limit=2**24,
    )
    try:
        server = RawServer(process)
        await server.initialize()
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `holds()` is true; fails after `WAIT_SECONDS`."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await holds():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.05)


def is_running(pid: int) -> bool:
    """True while the process does anything; one that only waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def text_of(result: Any) -> str:
    """The text an agent reads of a tool result."""
    return str(result.content[0].text)
