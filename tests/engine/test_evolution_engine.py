"""Evolution through a real engine: plans, decisions and their undoing, by every door there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from engine_support import ADD_TESTS, RIGHT, finished, until
from evolution_house import House
from mcp import Client

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.errors import AdapterNotFoundError, ConflictError
from rune_engine.models import ConsolidateParams, EvolveParams, EvolveResult, RunTaskParams
from rune_mcp.server import build_server

WRONG = "```python\ndef add(a, b):\n    return a - b\n```"


@pytest.fixture
def prepared(config: RuneConfig) -> RuneConfig:
    """A home with a good adapter and a bad one, both measured, before any engine."""
    with closing(open_database(config)) as database:
        house = House(config, database)
        for name, solved in (("good", 8), ("bad", 1)):
            house.adapter(name, base_model_id="scripted")
            house.measure(name, solved=solved, base=0)
    return config


def in_house(config: RuneConfig, look: Callable[[House], object]) -> object:
    with closing(open_database(config)) as database:
        return look(House(config, database, tasks=0))


async def test_a_plan_is_carried_out_shown_and_taken_back(
    prepared: RuneConfig, client: EngineClient
) -> None:
    params = EvolveParams(project_id="shop")
    plan = await client.plan_evolution(params)
    assert [list(step.archive) for step in plan.steps] == [["bad"]]
    assert not (await client.get_adapter("bad")).is_archived
    job = await finished(client, await client.evolve(params))
    assert EvolveResult.model_validate(job.result).steps == plan.steps
    assert job.project_id == "shop" and (await client.get_adapter("bad")).is_archived
    (told,) = [e for e in (await client.history()).entries if e.kind == "evolution_decided"]
    assert told.event is not None and f"[event {told.event}]" in told.line
    assert told.facts["numbers"]["winner"] == "good" and "p = " in told.line
    assert (await client.undo(told.event)).restored == ["bad"]
    assert not (await client.get_adapter("bad")).is_archived
    lines = [entry.line for entry in (await client.history()).entries]
    assert any("taken back: bad in use again" in line for line in lines)
    with pytest.raises(ConflictError):
        await client.undo(1)


async def test_a_user_archives_and_restores(prepared: RuneConfig, client: EngineClient) -> None:
    assert (await client.archive_adapter("good", reason="A whim.")).is_archived
    assert not (await client.restore_adapter("good", reason="No.")).is_archived
    lines = [entry.line for entry in (await client.history()).entries]
    assert "Adapter good is in use again: No." in lines
    with pytest.raises(AdapterNotFoundError):
        await client.restore_adapter("nobody")
    with pytest.raises(AdapterNotFoundError):
        await client.consolidate(ConsolidateParams(adapter_ids=["good", "nobody"]))


async def test_an_adapter_that_fails_live_tasks_is_taken_out_by_itself(
    prepared: RuneConfig, client: EngineClient
) -> None:
    def measure(house: House) -> None:
        house.tasks = [t.id for t in house.trajectories.page(limit=100).trajectories]
        house.measure("good", solved=8, base=8)

    in_house(prepared, measure)
    script = Path(prepared.base_model.removeprefix("scripted:"))
    harmful = {"contains": "Add", "answers": [WRONG], "adapter_id": "good"}
    script.write_text(json.dumps([harmful, {"contains": "Add", "answers": [RIGHT]}]))
    jobs = [
        await client.run_task(
            RunTaskParams(
                task_description=f"Add, live {number}.",
                test_suite=ADD_TESTS,
                project_id="shop",
                adapter="good",
                max_attempts=1,
            )
        )
        for number in range(7)
    ]
    for job in jobs:
        assert (await finished(client, job)).status == "succeeded"

    def demoted(house: House) -> object:
        return "good" not in house.in_use() and house.decisions()

    (decided,) = await until(lambda: in_house(prepared, demoted), "the adapter is demoted")
    assert (decided.payload["operation"], decided.caused_by) == ("guard", "schedule")
    assert decided.payload["numbers"]["solved"] == 0
    assert (await client.undo(decided.seq)).restored == ["good"]


def test_the_command_plans_decides_and_undoes(prepared: RuneConfig) -> None:
    def rune(*arguments: str) -> str:
        environment = {"RUNE_HOME": str(prepared.home), "RUNE_BASE_MODEL": prepared.base_model}
        done = subprocess.run(
            [sys.executable, "-m", "rune_engine.cli.main", *arguments],
            env=os.environ | environment | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    assert "Nothing was done" in rune("evolve", "shop", "--dry-run")
    assert json.loads(rune("evolve", "shop", "--json"))["archived"] == ["bad"]
    (decided,) = in_house(prepared, lambda house: house.decisions())  # type: ignore[misc]
    assert "bad is in use." in rune("evolve", "--undo", str(decided.seq))
    assert "good is archived." in rune("adapters", "archive", "good")
    assert "good is in use." in rune("adapters", "restore", "good", "--reason", "It helps.")


async def test_an_editor_plans_decides_and_steers(prepared: RuneConfig) -> None:
    async with Client(build_server(lambda: EngineClient(prepared))) as editor:

        async def call(tool: str, **arguments: object) -> dict[str, object]:
            result = await editor.call_tool(tool, arguments)
            assert not result.is_error and result.structured_content is not None, result
            return result.structured_content

        planned = await call("evolve_memory", project_id="shop", dry_run=True)
        assert planned["job_id"] is None and "nothing was done" in str(planned["message"])
        done = await call("evolve_memory", project_id="shop")
        assert done["steps"] == planned["steps"] and done["status"] == "succeeded"
        report = await call("get_job", job_id=done["job_id"])
        assert report["result"]["archived"] == ["bad"]  # type: ignore[index]
        assert (await call("restore_adapter", adapter_id="bad"))["is_archived"] is False
        assert (await call("archive_adapter", adapter_id="bad"))["is_archived"] is True
