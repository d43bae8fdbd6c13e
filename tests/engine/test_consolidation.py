"""The whole way through a real engine: sessions come in, a judged adapter comes out."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from consolidating import adapters, consolidating_config, decisions, events, jobs, record_tasks
from engine_support import (
    end_engines,
    engines,
    finished,
    make_fast,
    stand_in_trainer_path,
    until,
    until_job,
)

from rune_engine.client import EngineClient
from rune_engine.models import DistillParams, RunTaskParams


@pytest.fixture(autouse=True)
def stand_in_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", stand_in_trainer_path())


async def test_sessions_become_an_adapter_that_is_measured_and_kept(tmp_path: Path) -> None:
    config = consolidating_config(tmp_path)
    async with EngineClient(config) as client:
        try:
            await record_tasks(client, range(8))
            await until(lambda: decisions(config, "kept"), "the adapter is judged")
            (adapter,) = adapters(config)
            assert (adapter["pass_rate"], adapter["is_archived"]) == (1.0, 0)
            (kept,) = decisions(config, "kept")
            numbers = kept["numbers"]
            assert (numbers["tasks"], numbers["solved"], numbers["base_solved"]) == (2, 2, 0)
            retrieved = await client.retrieve("shop")
            assert retrieved.adapter is not None and retrieved.adapter.id == adapter["id"]
            lines = " ".join(entry.line for entry in (await client.history()).entries)
            assert "8 new trajectories" in lines and "2 of 2 tasks" in lines
        finally:
            end_engines(config)


async def test_an_adapter_that_does_not_help_is_never_served_again(tmp_path: Path) -> None:
    config = consolidating_config(tmp_path, helps=False, kept_back_share=0.6)
    async with EngineClient(config) as client:
        try:
            await record_tasks(client, range(9))
            await until(lambda: decisions(config, "archived"), "the adapter is judged")
            await until(lambda: adapters(config)[0]["is_archived"], "it is archived")
            assert (await client.retrieve("shop")).adapter is None
            (archived,) = decisions(config, "archived")
            assert "is not served" in archived["reason"]
        finally:
            end_engines(config)


async def test_more_sessions_become_a_second_adapter_that_never_saw_what_was_kept_back(
    tmp_path: Path,
) -> None:
    config = consolidating_config(tmp_path)
    async with EngineClient(config) as client:
        try:
            await record_tasks(client, range(8))
            await until(lambda: decisions(config, "kept"), "the first is judged")
            await record_tasks(client, range(8, 12))
            await until(lambda: len(decisions(config, "kept")) == 2, "the second is judged")
            asked = [DistillParams.model_validate(job["params"]) for job in jobs(config, "distill")]
            first, second = asked
            assert set(first.kept_back_ids) <= set(second.kept_back_ids)
            assert not set(first.kept_back_ids) & set(second.trajectory_ids or ())
        finally:
            end_engines(config)


async def test_an_engine_on_demand_stays_for_what_is_due_and_ends_when_nothing_is(
    tmp_path: Path,
) -> None:
    config = consolidating_config(tmp_path, idle_seconds=0.5, quiet_seconds=2.0)
    async with EngineClient(config) as client:
        await record_tasks(client, range(8))
    await until(lambda: decisions(config, "kept"), "the adapter is judged")
    await until(lambda: not engines(config), "the engine ends")
    assert len(jobs(config, "distill")) == 1


async def test_a_task_waits_while_the_model_sleeps_and_goes_on_when_it_wakes(
    tmp_path: Path,
) -> None:
    config = consolidating_config(tmp_path, behaviour="hang", exclusive="always")
    async with EngineClient(config) as client:
        try:
            await record_tasks(client, range(8))
            trainer = await until(lambda: trainer_pid(tmp_path), "the trainer runs")
            # The schedule's trainer leaves the processor to others, too.
            assert psutil.Process(trainer).nice() == min(19, psutil.Process().nice() + 10)
            task = RunTaskParams(task_description="Add two numbers", project_id="shop")
            job = await client.run_task(task)
            (distill,) = jobs(config, "distill")
            waits = f"waits: the model sleeps while job {distill['id']} trains"
            job = await until_job(client, job, lambda seen: seen.message == waits)
            assert events(config, "serving_slept", "serving_woke") == ["serving_slept"]
            await client.cancel_job(distill["id"])
            assert (await finished(client, job)).status == "succeeded"
            told = events(config, "serving_slept", "serving_woke")
            assert told == ["serving_slept", "serving_woke"]
        finally:
            end_engines(config)


async def test_training_and_serving_run_beside_each_other_where_nothing_is_shared(
    tmp_path: Path,
) -> None:
    config = consolidating_config(tmp_path, behaviour="hang", exclusive="never")
    async with EngineClient(config) as client:
        try:
            await record_tasks(client, range(8))
            await until(lambda: trainer_pid(tmp_path), "the trainer runs")
            job = await client.run_task(RunTaskParams(task_description="Add two numbers"))
            assert (await finished(client, job)).status == "succeeded"
            assert [each["status"] for each in jobs(config, "distill")] == ["running"]
        finally:
            end_engines(config)


def trainer_pid(folder: Path) -> int | None:
    """The pid that the hanging stand-in has left."""
    written = folder / "tiny-base" / "trainer.pid"
    return int(written.read_text() or 0) if written.exists() else None


async def test_a_project_that_opted_out_is_left_alone(tmp_path: Path) -> None:
    config = consolidating_config(tmp_path, quiet_seconds=3600)
    async with EngineClient(config) as client:
        try:
            await record_tasks(client, range(8))
            assert "within 3600 s" in (await client.consolidation()).state
            assert (await client.consolidation()).due != []
            await client.set_recording("shop", recorded=False)
            assert (await client.consolidation()).due == []
        finally:
            end_engines(config)


async def test_a_projects_adapter_is_updated_while_somebody_works(tmp_path: Path) -> None:
    config = consolidating_config(tmp_path, quiet_seconds=3600, fast_quiet_seconds=0)
    make_fast(tmp_path / "tiny-base")
    async with EngineClient(config) as client:
        try:
            await record_tasks(client, range(8))
            (first,) = await until(lambda: adapters(config), "there is an adapter")
            await record_tasks(client, range(8, 9))
            await until(lambda: adapters(config)[0]["is_archived"], "another took its place")
            second = adapters(config)[-1]
            retrieved = (await client.retrieve("shop")).adapter
            assert retrieved is not None and retrieved.id == second["id"] != first["id"]
            methods = {job["params"]["method"] for job in jobs(config, "distill")}
            assert methods == {"auto"} and jobs(config, "evaluate") == []
            lines = " ".join(entry.line for entry in (await client.history()).entries)
            assert "1 new trajectories: without training" in lines and "took its place" in lines
        finally:
            end_engines(config)


async def test_what_stood_in_for_a_training_is_followed_by_one(tmp_path: Path) -> None:
    config = consolidating_config(tmp_path, fast=False)
    make_fast(tmp_path / "tiny-base")
    async with EngineClient(config) as client:
        try:
            await record_tasks(client, range(4))
            asked = DistillParams(project_id="shop")
            job = await finished(client, await client.distill(asked))
            assert job.result is not None and job.result["method"] == "closed_form"
            await until(lambda: len(adapters(config)) == 2, "the training has followed")
            stood_in, training = jobs(config, "distill")
            assert training["params"]["method"] == "direct"
            assert len(training["params"]["kept_back_ids"]) == 2
            assert stood_in["params"]["kept_back_ids"] == []
        finally:
            end_engines(config)
