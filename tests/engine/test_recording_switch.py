"""A project whose user turned recording off: nothing of it is kept or learnt from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from engine_support import ADD_TESTS, base_model_folder, draft, finished

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.errors import ProjectOptedOutError
from rune_engine.events import EventLog
from rune_engine.models import DistillParams, RunTaskParams

NAME = "github.com/acme/shop"


async def test_nothing_is_recorded_while_a_project_is_off(client: EngineClient) -> None:
    await client.record(draft(1, project_id=NAME))
    assert (await client.project(NAME)).recorded is True
    state = await client.set_recording(NAME, recorded=False)
    assert (state.recorded, state.trajectories) == (False, 1)
    with pytest.raises(ProjectOptedOutError, match=NAME) as caught:
        await client.record(draft(2, project_id=NAME))
    assert "rune project on" in caught.value.next_step
    with pytest.raises(ProjectOptedOutError):
        await client.record(draft(1, project_id=NAME))
    await client.record(draft(3, project_id="another"))
    assert (await client.status()).trajectories == 2
    assert (await client.set_recording(NAME, recorded=True)).recorded is True
    await client.record(draft(2, project_id=NAME))
    assert (await client.project(NAME)).trajectories == 2


async def test_a_task_of_a_project_that_is_off_is_solved_and_not_kept(
    client: EngineClient,
) -> None:
    await client.set_recording("shop", recorded=False)
    params = RunTaskParams(
        task_description="Add two numbers", test_suite=ADD_TESTS, project_id="shop"
    )
    job = await finished(client, await client.run_task(params))
    assert job.result is not None, job.error
    assert job.result["tests_passed"] is True and job.result["trajectory_id"] is None
    assert (await client.status()).trajectories == 0


async def test_nothing_is_learnt_from_a_project_that_is_off(
    shared_client: EngineClient, tmp_path: Path
) -> None:
    await shared_client.record(draft(1))
    await shared_client.set_recording("shop", recorded=False)
    params = DistillParams(project_id="shop", base_model=str(base_model_folder(tmp_path)))
    with pytest.raises(ProjectOptedOutError):
        await shared_client.distill(params)
    assert await shared_client.list_jobs() == []


async def test_the_switch_is_kept_as_events_and_only_when_it_changes(
    client: EngineClient, config: RuneConfig
) -> None:
    for recorded in (True, False, False, True, False):
        await client.set_recording(NAME, recorded=recorded)
    await client.stop()
    database = await asyncio.to_thread(open_database, config)
    kinds = [event.kind for event in EventLog(database).history(project_id=NAME)]
    database.close()
    assert kinds == ["project_opted_out", "project_opted_in", "project_opted_out"]
    assert (await client.project(NAME)).recorded is False


async def test_a_project_nobody_knows_has_nothing_and_may_be_recorded(
    shared_client: EngineClient,
) -> None:
    state = await shared_client.project("never/seen")
    assert (state.trajectories, state.adapters, state.recorded) == (0, 0, True)
