"""What an editor sees before it calls anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import Tool
from mcp_support import REPOSITORY, in_memory

from rune_engine.config import RuneConfig
from rune_engine.models import DistillParams, EvaluateParams, RunTaskParams, TrajectoryDraft
from rune_mcp.server import build_server

TOOLS = {
    "run_task",
    "retrieve_adapter",
    "record_trajectory",
    "list_adapters",
    "get_adapter",
    "distill",
    "evaluate_adapter",
    "compare_adapters",
    "evolve_memory",
    "archive_adapter",
    "restore_adapter",
    "get_job",
    "cancel_job",
    "memory_status",
    "list_trajectories",
    "get_trajectory",
    "undo_decision",
    "show_memory",
    "get_history",
    "forget_memory",
}
DESTROY = {"cancel_job", "forget_memory"}
CREATE = {"run_task", "distill", "evaluate_adapter", "compare_adapters", "evolve_memory"}
READ_ONLY = {
    "retrieve_adapter",
    "list_trajectories",
    "get_trajectory",
    "list_adapters",
    "get_adapter",
    "get_job",
    "memory_status",
    "show_memory",
    "get_history",
}
LIMITS = ("minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "enum")
HEAVY = (
    "torch", "transformers", "sqlalchemy", "sqlmodel", "fastapi", "typer", "rich", "langgraph",
    "httpx", "detect_secrets", "requests",
)  # fmt: skip


def _no_engine() -> Any:
    raise AssertionError("listing the tools needs no engine")


async def _tools(mode: str = "auto") -> dict[str, Tool]:
    async with Client(build_server(_no_engine), mode=mode) as client:
        return {tool.name: tool for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_both_protocol_eras_list_every_tool(mode: str) -> None:
    assert set(await _tools(mode)) == TOOLS
    assert len(TOOLS) <= 20


async def test_every_tool_has_a_title_and_says_what_it_may_do() -> None:
    for tool in (await _tools()).values():
        hints = tool.annotations
        assert tool.title
        assert hints is not None
        assert hints.read_only_hint is (tool.name in READ_ONLY)
        assert hints.destructive_hint is (tool.name in DESTROY)
        assert hints.idempotent_hint is (tool.name not in CREATE)
        assert hints.open_world_hint is False


async def test_every_parameter_is_described_and_every_tool_has_an_output_schema() -> None:
    for tool in (await _tools()).values():
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        for name, schema in tool.input_schema["properties"].items():
            assert re.search(r"\w", json.dumps(_part(schema, "description"))), (tool.name, name)


async def test_descriptions_are_short_and_describe_rather_than_instruct() -> None:
    for tool in (await _tools()).values():
        assert tool.description
        assert len(tool.description.encode()) < 2048
        assert not re.search(r"\b(always|never|must|should|you)\b", tool.description, re.I), tool
    async with Client(build_server(_no_engine)) as client:
        assert client.instructions
        assert len(client.instructions.encode()) < 2048


async def test_the_page_in_the_docs_lists_what_the_server_offers() -> None:
    page = (REPOSITORY / "docs/mcp.md").read_text("utf-8")
    listed = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    async with Client(build_server(_no_engine)) as client:
        offered = [tool.name for tool in (await client.list_tools()).tools]
        offered += [each.uri for each in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates
        offered += [each.uri_template for each in templates]
        offered += [prompt.name for prompt in (await client.list_prompts()).prompts]
    offered.remove("ui://rune/memory.html")
    assert sorted(listed) == sorted(offered)


@pytest.mark.parametrize(
    ("tool", "model"),
    [
        ("run_task", RunTaskParams),
        ("distill", DistillParams),
        ("evaluate_adapter", EvaluateParams),
        ("record_trajectory", TrajectoryDraft),
    ],
)
async def test_a_tool_has_the_limits_and_defaults_of_the_engines_model(
    tool: str,
    model: type[RunTaskParams] | type[DistillParams] | type[TrajectoryDraft] | type[EvaluateParams],
) -> None:
    offered = (await _tools())[tool].input_schema["properties"]
    accepted = model.model_json_schema()["properties"]
    # Where a trajectory came from, and what the schedule keeps back, is no caller's to say.
    assert set(accepted) - set(offered) <= {"source", "provenance", "kept_back_ids", "refit_of"}
    # A project may also be given as a folder, which the server resolves.
    for name in (set(accepted) & set(offered)) - {"project_id"}:
        for limit in LIMITS:
            assert _part(offered[name], limit) == _part(accepted[name], limit), (name, limit)
        assert offered[name].get("default") == accepted[name].get("default"), name


def _part(schema: dict[str, Any], key: str) -> list[Any]:
    """Every value of `key` in a property's schema, its alternatives and items included."""
    inner = [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]
    own = [schema[key]] if key in schema else []
    return own + [value for part in inner for value in _part(part, key)]


def test_listing_the_tools_loads_nothing_heavy_and_touches_no_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    program = (
        "import asyncio, sys\n"
        "from mcp import Client\n"
        "from rune_mcp.server import attach, build_server\n"
        "async def main():\n"
        "    async with Client(build_server(attach)) as client:\n"
        f"        assert len((await client.list_tools()).tools) == {len(TOOLS)}\n"
        "asyncio.run(main())\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(REPOSITORY), "RUNE_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")
    assert not home.exists()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_both_protocol_eras_answer_a_call(rune_config: RuneConfig, mode: str) -> None:
    async with in_memory(rune_config, mode) as client:
        result = await client.call_tool("memory_status")
        assert not result.is_error
        assert result.structured_content is not None
        assert result.structured_content["home"] == str(rune_config.home)
        assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
