"""What the tools refuse: in clear words, with nothing stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from mcp import Client
from mcp_support import in_memory, text_of

from rune_engine.config import RuneConfig

ATTEMPT = {"generated_code": "x = 1\n", "exit_code": 0, "tests_passed": True}
TRAJECTORY = {
    "project_id": "refusals",
    "task_description": "Set x.",
    "attempts": [ATTEMPT],
    "outcome": "success",
}


@dataclass(frozen=True)
class Refusal:
    """A call that must fail, and words that its error must contain."""

    name: str
    tool: str
    arguments: dict[str, Any]
    says: tuple[str, ...]


REFUSALS = [
    Refusal("unknown adapter", "get_adapter", {"adapter_id": "nobody"}, ("nobody",)),
    Refusal("unknown job", "get_job", {"job_id": "nobody"}, ("nobody",)),
    Refusal("unknown job to cancel", "cancel_job", {"job_id": "nobody"}, ("nobody",)),
    Refusal(
        "adapter id that spells a path",
        "get_adapter",
        {"adapter_id": "../../etc/passwd"},
        ("adapter_id", "pattern"),
    ),
    Refusal(
        "job id that spells a path",
        "get_job",
        {"job_id": "../../etc/passwd"},
        ("job_id", "pattern"),
    ),
    Refusal(
        "project that spells a path",
        "record_trajectory",
        {**TRAJECTORY, "project_id": "../../etc"},
        ("project_id", "pattern"),
    ),
    Refusal(
        "no attempts",
        "record_trajectory",
        {**TRAJECTORY, "attempts": []},
        ("attempts", "at least 1"),
    ),
    Refusal(
        "wrong outcome",
        "record_trajectory",
        {**TRAJECTORY, "outcome": "splendid"},
        ("outcome", "'success', 'exhausted' or 'unknown'"),
    ),
    Refusal(
        "50 MB of code",
        "record_trajectory",
        {**TRAJECTORY, "attempts": [{"generated_code": "x" * 50_000_000}]},
        ("attempts.0.generated_code", "at most 1000000 characters"),
    ),
    Refusal(
        "unknown field of an attempt",
        "record_trajectory",
        {**TRAJECTORY, "attempts": [{**ATTEMPT, "exitcode": 0}]},
        ("attempts.0.exitcode", "not permitted"),
    ),
    Refusal(
        "misspelt parameter",
        "record_trajectory",
        {**TRAJECTORY, "heldout": True},
        ("no parameter 'heldout'", "held_out"),
    ),
    Refusal("missing parameter", "run_task", {}, ("task_description", "required")),
    Refusal(
        "base model that does not exist",
        "run_task",
        {"task_description": "Set x.", "base_model": "no-such-model"},
        ("no-such-model",),
    ),
    Refusal(
        "adapter that does not exist",
        "run_task",
        {"task_description": "right at once", "adapter": "nobody"},
        ("nobody",),
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
async def test_a_refused_call_says_why_and_stores_nothing(
    rune_config: RuneConfig, refusal: Refusal
) -> None:
    async with in_memory(rune_config) as client:
        before = await _stored(client)
        result = await client.call_tool(refusal.tool, refusal.arguments)
        text = text_of(result)
        assert result.is_error
        for word in refusal.says:
            assert word in text
        for inner in ("Traceback", "Error executing", "Arguments\n", "pydantic", "Error:"):
            assert inner not in text
        assert len(text) < 1500
        assert await _stored(client) == before


async def test_the_refused_calls_differ_from_a_good_one_only_in_what_is_wrong(
    rune_config: RuneConfig,
) -> None:
    async with in_memory(rune_config) as client:
        first = await client.call_tool("record_trajectory", TRAJECTORY)
        again = await client.call_tool("record_trajectory", TRAJECTORY)
        assert first.structured_content is not None
        assert again.structured_content is not None
        assert first.structured_content["duplicate"] is False
        assert again.structured_content["duplicate"] is True
        assert (
            first.structured_content["trajectory_id"] == again.structured_content["trajectory_id"]
        )


async def _stored(client: Client) -> tuple[int, int]:
    status = await client.call_tool("memory_status")
    assert status.structured_content is not None
    return status.structured_content["trajectories"], status.structured_content["adapters"]
