"""Over MCP a project may be a folder; what is recorded tells how many secrets were replaced."""

from __future__ import annotations

import random
import string
import subprocess
from pathlib import Path
from typing import Any

from mcp_support import in_memory

from rune_engine.config import RuneConfig


def trajectory(**changes: Any) -> dict[str, Any]:
    attempts = [{"generated_code": "def add(a, b): ...", "tests_passed": True}]
    given = {"task_description": "Add two numbers.", "attempts": attempts, "outcome": "success"}
    return {**given, **changes}


def checkout(folder: Path) -> Path:
    (folder / "src").mkdir(parents=True)
    for arguments in (["init", "-q"], ["remote", "add", "origin", "https://github.com/acme/shop"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True, timeout=60)
    return folder


async def test_a_folder_names_its_repository(rune_config: RuneConfig, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "work")
    async with in_memory(rune_config) as client:
        given = trajectory(project_id=str(folder / "src"))
        assert not (await client.call_tool("record_trajectory", given)).is_error
        status = await client.call_tool("memory_status")
        assert status.structured_content is not None
        names = [project["project_id"] for project in status.structured_content["projects"]]
        assert names == ["github.com/acme/shop"]
        missing = await client.call_tool(
            "retrieve_adapter", {"project_id": str(folder / "nowhere")}
        )
        assert missing.is_error and "no folder" in missing.content[0].text  # type: ignore[union-attr]


async def test_the_answer_counts_the_secrets_that_were_replaced(rune_config: RuneConfig) -> None:
    token = "ghp_" + "".join(random.Random(1).choices(string.ascii_letters, k=36))
    given = trajectory(project_id="shop", task_description=f"Use {token} to log in.")
    async with in_memory(rune_config) as client:
        answer = await client.call_tool("record_trajectory", given)
        assert answer.structured_content is not None
        assert answer.structured_content["redacted"] == {"github-token": 1}
