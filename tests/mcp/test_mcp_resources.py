"""The memory as resources, who is told when one has changed, and ids completed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPDeprecationWarning
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate
from mcp.types import PromptReference, ResourceTemplateReference
from mcp_support import WAIT_SECONDS, in_memory, scripted_config, until

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.starter import is_listening
from rune_mcp.server import build_server

LISTS = {
    "rune://adapters",
    "rune://trajectories",
    "rune://projects",
    "rune://jobs",
    "rune://history",
}
PROJECT = "github.com/acme/shop"
SOLVE = PromptReference(type="ref/prompt", name="solve_with_memory")


def no_engine() -> Any:
    raise AssertionError("listing needs no engine")


async def read(client: Client, uri: str) -> dict[str, Any]:
    [content] = (await client.read_resource(uri)).contents
    assert content.mime_type == "application/json"
    found: dict[str, Any] = json.loads(content.text)  # type: ignore[union-attr]
    return found


async def record(client: Client, number: int = 0) -> str:
    attempts = [{"generated_code": f"x = {number}", "tests_passed": True}]
    given = {"task_description": f"Set x, {number}.", "attempts": attempts, "outcome": "success"}
    answer = await client.call_tool("record_trajectory", {**given, "project_id": PROJECT})
    assert answer.structured_content is not None, answer
    return str(answer.structured_content["trajectory_id"])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_can_be_read_is_listed_without_an_engine(mode: str) -> None:
    async with Client(build_server(no_engine), mode=mode) as client:
        listed = {each.uri for each in (await client.list_resources()).resources}
        assert listed == LISTS | {"ui://rune/memory.html"}
        templates = (await client.list_resource_templates()).resource_templates
        assert {each.uri_template.split("{")[0] for each in templates} == {
            f"{uri}/" for uri in LISTS - {"rune://history"}
        }


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_resource_is_read(rune_config: RuneConfig, mode: str) -> None:
    async with in_memory(rune_config, mode) as client:
        trajectory = await record(client)
        for uri in LISTS:
            await read(client, uri)
        one = await read(client, f"rune://trajectories/{trajectory}")
        assert one["trajectory"]["task_description"] == "Set x, 0."
        assert "no instruction" in one["notice"]
        assert one["origin"]["source"] == "recorded"
        listed = await read(client, "rune://trajectories")
        assert trajectory in [each["id"] for each in listed["trajectories"]]
        assert "no instruction" in listed["notice"]
        template = UriTemplate.parse("rune://projects/{+project_id}")
        for uri in (
            template.expand({"project_id": PROJECT}),
            "rune://projects/github.com%2Facme%2Fshop",
        ):
            assert (await read(client, uri))["project"]["trajectories"] == 1
        run = await client.call_tool("run_task", {"task_description": "right at once"})
        assert run.structured_content is not None
        job = await read(client, f"rune://jobs/{run.structured_content['job_id']}")
        assert job["status"] == "succeeded"
        history = await read(client, "rune://history")
        assert history["entries"][0]["kind"] == "job_succeeded"


@pytest.mark.parametrize(
    "uri",
    [
        "rune://adapters/nobody",
        "rune://jobs/nobody",
        "rune://projects/nobody",
        "rune://trajectories/nobody",
        "rune://adapters/..%2F..%2Fetc%2Fpasswd",
        "rune://trajectories/../../etc/passwd",
        "rune://projects/%00",
        "rune://history/1",
        "rune://nothing",
        "file:///etc/passwd",
    ],
)
async def test_what_is_not_there_is_not_found(rune_config: RuneConfig, uri: str) -> None:
    async with in_memory(rune_config) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
        assert refused.value.code == -32602
        assert "Traceback" not in str(refused.value)


async def test_a_listener_hears_what_it_asked_for_and_nothing_else(rune_config: RuneConfig) -> None:
    project = f"rune://projects/{PROJECT}"
    other = "rune://projects/github.com/acme/other"
    async with in_memory(rune_config) as client, in_memory(rune_config) as editor:
        await record(editor, 1)
        async with (
            asyncio.timeout(WAIT_SECONDS),
            client.listen(resource_subscriptions=[project, other, "rune://jobs"]) as heard,
        ):
            await record(editor, 2)
            assert (await anext(heard)).uri == project  # type: ignore[union-attr]
            await editor.call_tool("run_task", {"task_description": "right at once"})
            assert (await anext(heard)).uri == "rune://jobs"  # type: ignore[union-attr]


async def test_a_subscriber_of_the_older_era_hears_until_it_unsubscribes(
    rune_config: RuneConfig,
) -> None:
    heard, arrived = [], asyncio.Event()

    async def note(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            heard.append(str(message.params.uri))
            arrived.set()

    server = build_server(lambda: EngineClient(rune_config))
    old = Client(server, mode="legacy", message_handler=note)
    async with old as client, in_memory(rune_config) as editor, asyncio.timeout(WAIT_SECONDS):
        await record(editor, 3)
        with pytest.warns(MCPDeprecationWarning):
            await client.subscribe_resource("rune://trajectories")
        await record(editor, 4)
        await arrived.wait()
        with pytest.warns(MCPDeprecationWarning):
            await client.unsubscribe_resource("rune://trajectories")
    assert set(heard) == {"rune://trajectories"}


async def test_a_subscription_starts_no_engine_misses_none_and_keeps_none_from_ending(
    tmp_path: Path,
) -> None:
    config = scripted_config(tmp_path / "home", idle_seconds=3.0)
    config.home.rmdir()
    async with (
        in_memory(config) as client,
        asyncio.timeout(WAIT_SECONDS),
        client.listen(resource_subscriptions=["rune://projects"]) as heard,
    ):
        with pytest.raises(TimeoutError):
            with anyio.fail_after(1.5):
                await anext(heard)
        assert not config.home.exists()
        async with EngineClient(config) as engine:
            await engine.health()
        assert (await anext(heard)).uri == "rune://projects"  # type: ignore[union-attr]

        async def has_ended() -> bool:
            return not is_listening(config)

        await until(has_ended)


async def test_too_many_subscriptions_are_refused(rune_config: RuneConfig) -> None:
    uris = [f"rune://jobs/{number}" for number in range(1_001)]
    async with in_memory(rune_config) as client:
        with pytest.raises(MCPError, match="At most 1000"):
            async with client.listen(resource_subscriptions=uris):
                pass


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_ids_and_projects_are_completed(rune_config: RuneConfig, mode: str) -> None:
    async with in_memory(rune_config, mode) as client:
        attempts = [{"generated_code": "x = 1", "tests_passed": True}]
        given = {"task_description": "Set x.", "attempts": attempts, "outcome": "success"}
        stored = await client.call_tool(
            "record_trajectory", {**given, "project_id": "gitlab.com/acme/Wares"}
        )
        assert stored.structured_content is not None
        trajectory = stored.structured_content["trajectory_id"]

        async def completed(ref: Any, name: str, value: str) -> list[str]:
            found = await client.complete(ref, {"name": name, "value": value})
            return list(found.completion.values)

        project = "gitlab.com/acme/Wares"
        assert await completed(SOLVE, "project_id", "gitl") == [project]
        assert await completed(SOLVE, "project_id", "wares") == [project]
        assert await completed(SOLVE, "project_id", "nothing") == []
        assert await completed(SOLVE, "task", "") == []
        one = ResourceTemplateReference(
            type="ref/resource", uri="rune://trajectories/{trajectory_id}"
        )
        assert await completed(one, "trajectory_id", trajectory[:6]) == [trajectory]
        foreign = ResourceTemplateReference(type="ref/resource", uri="test://x/{project_id}")
        assert await completed(foreign, "project_id", "") == []
