"""The server as an editor runs it: a process on stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import psutil
import pytest
from mcp_support import (
    ADD_TESTS,
    WAIT_SECONDS,
    RawServer,
    is_running,
    over_stdio,
    raw_server,
    text_of,
    until,
)

from rune_engine.config import RuneConfig
from rune_engine.home import locked, prepare_home
from rune_engine.starter import START_SECONDS
from rune_mcp.tools import TOOLS

Environment = dict[str, str]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_task_runs_over_stdio_in_both_protocol_eras(
    environment: Environment, mode: str
) -> None:
    task = {"task_description": "right at once", "test_suite": ADD_TESTS}
    async with asyncio.timeout(WAIT_SECONDS), over_stdio(environment, mode) as client:
        assert len((await client.list_tools()).tools) == len(TOOLS)
        answer = await client.call_tool("run_task", task)
        assert not answer.is_error, text_of(answer)
        assert answer.structured_content is not None
        assert answer.structured_content["result"]["tests_passed"] is True


async def test_eight_servers_share_one_engine_and_leave_nothing_behind(
    environment: Environment,
) -> None:
    async with AsyncExitStack() as stack:
        servers = await asyncio.gather(
            *(stack.enter_async_context(raw_server(environment)) for _ in range(8))
        )
        pids = await asyncio.gather(*(_engine_pid(server) for server in servers))
        assert len(set(pids)) == 1
        engine = pids[0]
        ours = [psutil.Process(server.process.pid) for server in servers]
        others = {child.pid for p in ours for child in p.children(recursive=True)} - {engine}
        codes = await asyncio.gather(*(server.close_stdin() for server in servers))
        assert codes == [0] * 8
        assert not [pid for pid in others if is_running(pid)]

    async def engine_is_gone() -> bool:
        return not is_running(engine)

    await until(engine_is_gone)


async def test_closing_stdin_in_the_middle_of_a_call_ends_the_server_and_its_job(
    environment: Environment,
) -> None:
    call = {"name": "run_task", "arguments": {"task_description": "very slow"}}
    message = {"jsonrpc": "2.0", "id": 9, "method": "tools/call"}
    async with raw_server(environment) as server, over_stdio(environment) as other:
        await server.send(json.dumps({**message, "params": call}).encode())

        async def jobs(status: str) -> bool:
            answer = await other.call_tool("memory_status")
            assert answer.structured_content is not None
            return bool(answer.structured_content["jobs"].get(status))

        await until(lambda: jobs("running"))
        assert await server.close_stdin() == 0
        await until(lambda: jobs("cancelled"))


async def test_closing_stdin_while_an_engine_starts_does_not_wait_for_it(
    config: RuneConfig, environment: Environment
) -> None:
    prepare_home(config)
    starting = config.home / "starter.lock"
    with locked(starting, deadline=time.monotonic() + WAIT_SECONDS):
        async with raw_server(environment) as server:
            call = {"name": "memory_status", "arguments": {}}
            message = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": call}
            await server.send(json.dumps(message).encode())

            async def waits_for_the_lock() -> bool:
                opened = psutil.Process(server.process.pid).open_files()
                return str(starting) in {file.path for file in opened}

            await until(waits_for_the_lock)
            async with asyncio.timeout(START_SECONDS / 2):
                assert await server.close_stdin() == 0


async def test_text_that_is_not_utf_8_is_answered_and_not_stored(environment: Environment) -> None:
    async with raw_server(environment) as server:
        trajectory = {
            "project_id": "bytes",
            "task_description": "HERE",
            "attempts": [{"generated_code": "x = 1"}],
            "outcome": "success",
        }
        params = {"name": "record_trajectory", "arguments": trajectory}
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        await server.send(json.dumps(message).encode().replace(b"HERE", b"caf\xe9"))
        answer = await server.answer()
        assert answer["id"] == 7
        assert "UTF-8" in answer["error"]["message"]
        await server.send(json.dumps(message).encode().replace(b"HERE", rb"half \ud83d"))
        assert (await server.answer())["id"] == 7
        assert (await server.call(8, "memory_status", {}))["structuredContent"]["trajectories"] == 0


@pytest.mark.parametrize("line", [b"{", b'"just text"', b"[1, 2", b"\xff\xfe", b"", b"   "])
async def test_a_damaged_line_does_not_end_the_server(
    environment: Environment, line: bytes
) -> None:
    async with raw_server(environment) as server:
        await server.send(line)
        answer = await server.request(3, "tools/list", {})
        assert len(answer["result"]["tools"]) == len(TOOLS)


async def test_a_field_of_50_mb_is_refused_over_stdio_and_the_server_goes_on(
    environment: Environment,
) -> None:
    async with raw_server(environment) as server:
        long = {"name": "run_task", "arguments": {"task_description": "x" * 50_000_000}}
        refused = await server.request(1, "tools/call", long)
        assert "longer than 16 MiB" in refused["error"]["message"]
        shorter = await server.call(2, "run_task", {"task_description": "x" * 15_000_000})
        assert shorter["isError"]
        assert "at most 1000000 characters" in shorter["content"][0]["text"]
        assert not (await server.call(3, "memory_status", {}))["isError"]


async def test_a_broken_configuration_is_a_tool_error_and_not_a_dead_server(
    environment: Environment,
) -> None:
    async with over_stdio({**environment, "RUNE_IDLE_SECONDS": "soon"}) as client:
        assert len((await client.list_tools()).tools) == len(TOOLS)
        result = await client.call_tool("memory_status")
        assert result.is_error
        assert "idle_seconds" in text_of(result)
        assert "RUNE_" in text_of(result)


async def _engine_pid(server: RawServer) -> int:
    result = await server.call(1, "memory_status", {})
    assert not result["isError"], result
    pid: int = result["structuredContent"]["engine_pid"]
    return pid
