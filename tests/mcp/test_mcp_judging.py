"""Adapters measured and compared over MCP, with a real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adapter_files import draft as adapter_draft
from adapter_files import weights
from mcp_support import ADD_TESTS, RIGHT, WRONG, in_memory, scripted_config, text_of

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.models import Attempt, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")


@pytest.fixture
def judged(tmp_path: Path) -> RuneConfig:
    """A home with two adapters, of which `good` helps, and seven tasks that both were kept from."""
    settings = {"alpha": 1.0, "out_of_domain_tasks": 0}
    config = scripted_config(tmp_path / "home", evaluation=settings)
    rules = [
        {"contains": "Add", "answers": [RIGHT], "adapter_id": "good"},
        {"contains": "Add", "answers": [WRONG]},
    ]
    Path(config.base_model.removeprefix("scripted:")).write_text(json.dumps(rules))
    database = open_database(config)
    registry, trajectories = AdapterRegistry(database, config), TrajectoryStore(database)
    code = "def add(a, b):\n    return a + b"
    drafts = [
        TrajectoryDraft(
            project_id="shop",
            task_description=f"Add, {number} of it.",
            test_suite=ADD_TESTS,
            attempts=[Attempt(generated_code=code, tests_passed=True)],
            outcome="success",
        )
        for number in NUMBERS
    ]
    roles = {trajectories.record(each)[0].id: "kept_back" for each in drafts}
    for seed, name in enumerate(("good", "useless")):
        made = adapter_draft(id=name, project_id="shop", base_model_id="scripted")
        registry.store(made, weights(seed), learnt_from=roles)  # type: ignore[arg-type]
    database.close()
    return config


async def test_an_adapter_is_measured_and_two_are_compared(judged: RuneConfig) -> None:
    reports: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    async with in_memory(judged) as client:
        answer = await client.call_tool("evaluate_adapter", {"adapter_id": "good"})
        assert not answer.is_error, text_of(answer)
        assert answer.structured_content is not None
        result = answer.structured_content["result"]
        assert (result["fitness"], result["base_pass_rate"], result["tasks"]) == (1.0, 0.0, 7)
        assert result["difference"]["low"] > 0 and result["per_task"] == []
        job = {"job_id": answer.structured_content["job_id"]}
        shown = await client.call_tool("get_job", job)
        assert shown.structured_content is not None
        assert shown.structured_content["result"] == result
        both = {"adapter_id": "good", "other_id": "useless"}
        known = await client.call_tool("compare_adapters", {**both, "measure": False})
        assert known.structured_content is not None
        assert known.structured_content["result"]["difference"] is None
        assert len(known.structured_content["result"]["measurable"]) == len(NUMBERS)
        compared = await client.call_tool("compare_adapters", both, progress_callback=note)
        assert len(reports) > 3 and reports == sorted(set(reports)) and reports[-1] <= 1.0
        assert compared.structured_content is not None, text_of(compared)
        assert compared.structured_content["result"]["difference"]["better"] == len(NUMBERS)
        assert compared.structured_content["message"].startswith("good is the better one")
        missing = await client.call_tool("compare_adapters", {**both, "other_id": "nobody"})
        assert missing.is_error and "nobody" in text_of(missing)
    async with EngineClient(judged) as engine:
        kept = await engine.evaluations("good")
        assert [each.settings.named for each in kept] == [True, False]
        await engine.stop()
