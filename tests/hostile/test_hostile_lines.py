"""Whatever is written to the server's stdin: it answers, or passes over it, and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from engine_support import engines, until
from hostile_values import TEXTS, hostile
from house import INNER, WAIT_SECONDS, Home, as_json, left_behind
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rune_engine.client import EngineClient
from rune_engine.errors import EngineUnavailableError

LINES = int(os.environ.get("RUNE_HOSTILE_LINES", "60"))
AT_ONCE = 20
METHODS = (
    "initialize",
    "ping",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "server/discover",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "__init__",
    "",
)
DEEP = (
    b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":'
    + b'{"a":' * 50_000
    + b"1"
    + b"}" * 50_001
)
FIXED = (
    b"",
    b"\xff\xfe\x00\x00",
    b"[" * 100_000,
    b"[" * 50_000 + b"]" * 50_000,
    DEEP,
    b"{" * 1000,
    b"null",
    b"true",
    b"17",
    b'"text"',
    b"[]",
    b"[{}]",
    b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]',
    b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping","method":"tools/list"}',
    b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"\\ud800","arguments":{}}}',
    b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"get_job","arguments":{"job_id":NaN}}}',
    b'{"jsonrpc":"1.0","id":9,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":9,"result":{}}',
    b'{"jsonrpc":"2.0","id":9,"error":{"code":1e400,"message":"x"}}',
    b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    b"GET / HTTP/1.1",
    b"Content-Length: 10",
    b"\x1b[2J\x07",
    b'{"jsonrpc":"2.0","id":9,"method":"ping","params":{"x":"' + b"x" * 9_000_000 + b'"}}',
)


class Wire:
    """A server process, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked = 0
        self.answers: list[dict[str, Any]] = []

    async def send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.replace(b"\n", b" ") + b"\n")
        await self._process.stdin.drain()

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and read everything up to the answer."""
        self._asked += 1
        number = f"ours-{self._asked}"
        await self.send(
            as_json({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                line = await self._process.stdout.readline()
                assert line, "the server has ended"
                answer: dict[str, Any] = json.loads(line)
                if answer.get("id") == number:
                    return answer
                self.answers.append(answer)

    async def initialize(self) -> None:
        info = {"name": "test", "version": "1"}
        given = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
        await self.ask("initialize", **given)
        await self.send(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')


@asynccontextmanager
async def wire(home: Home) -> AsyncIterator[Wire]:
    """A server of this home; its environment is the test's."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rune_mcp.server"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={
            **os.environ,
            "RUNE_HOME": str(home.config.home),
            "RUNE_BASE_MODEL": home.config.base_model,
        },
        limit=2**26,
    )
    try:
        found = Wire(process)
        await found.initialize()
        yield found
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(WAIT_SECONDS):
            assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def mutilated(message: dict[str, Any], cut: float, with_text: str, how: int) -> bytes:
    """A message, or what a broken sender makes of it."""
    line = as_json(message)
    at = int(len(line) * cut)
    if how == 0:
        return line[:at]
    if how == 1:
        return line[:at] + with_text.encode("utf-8", "surrogatepass") + line[at:]
    return line


ids = st.one_of(st.integers(1, 10**6), st.sampled_from((None, True, -1, 1.5, "x" * 5000, [], {})))
messages = st.fixed_dictionaries(
    {"jsonrpc": st.sampled_from(("2.0", "2.0", "2.0", 2, None))},
    optional={
        "id": ids,
        "method": st.one_of(st.sampled_from(METHODS), hostile),
        "params": st.one_of(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.one_of(st.sampled_from(("get_job", "run_task")), hostile),
                    "uri": hostile,
                    "arguments": hostile,
                    "cursor": hostile,
                    "ref": hostile,
                    "argument": hostile,
                    "level": hostile,
                    "requestId": ids,
                    "_meta": hostile,
                },
            ),
            hostile,
        ),
        "result": hostile,
    },
)
lines = st.one_of(
    st.sampled_from(FIXED),
    *[st.builds(mutilated, messages, st.floats(0, 1), st.sampled_from(TEXTS), st.integers(0, 4))]
    * 8,
)


@pytest.mark.timeout(900)
def test_no_line_on_stdin_ends_the_server_or_makes_it_tell_of_its_insides(home: Home) -> None:
    batches: list[list[bytes]] = [list(FIXED)]

    @settings(
        max_examples=-(-max(LINES - len(FIXED), 1) // AT_ONCE),
        database=None,
        deadline=None,
        derandomize="RUNE_HOSTILE_ANEW" not in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(lines, min_size=AT_ONCE, max_size=AT_ONCE))
    def collect(batch: list[bytes]) -> None:
        batches.append(batch)

    collect()
    asyncio.run(spoken(home, batches))
    assert sum(map(len, batches)) >= LINES
    assert home.writes.read_text() == ""
    left_behind(home.config, home.outside, home.before)


async def spoken(home: Home, batches: list[list[bytes]]) -> None:
    """Write every line; after each batch the server answers as ever."""
    async with wire(home) as server:
        for batch in batches:
            for line in batch:
                await server.send(line)
            listed = await server.ask("tools/list")
            assert listed["result"]["tools"]
        held = await server.ask("tools/call", name="memory_status", arguments={})
        assert held["result"]["structuredContent"]["adapters"] == 2
    for answer in server.answers:
        assert not INNER.search(json.dumps(answer)), answer
        assert len(json.dumps(answer.get("error"))) < 4000, f"{answer!r:.500}"
    async with EngineClient(home.config) as client:
        with suppress(EngineUnavailableError):  # a busy machine: it ends a little later
            await client.stop()
    await until(lambda: not engines(home.config), "the engine has ended")
