"""What the schedule asks for, by real rows: never twice, never too early, and in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from engine_support import base_model_folder, draft, make_fast, until

from rune_engine.config import RuneConfig, load_config
from rune_engine.consolidation.consolidator import PRIORITY, Consolidator
from rune_engine.database import Database, open_database
from rune_engine.events import EventLog
from rune_engine.jobs.store import JobStore
from rune_engine.models import DistillParams, Job, LifecycleEvent, RunTaskParams
from rune_engine.trajectories import TrajectoryStore

CALM = {
    "quiet_seconds": 0,
    "fast_quiet_seconds": 0,
    "max_load": None,
    "min_free_memory_bytes": 0,
    "on_battery": True,
}


@pytest.fixture
def config(tmp_path: Path) -> RuneConfig:
    return config_with(tmp_path)


def config_with(folder: Path, **changes: Any) -> RuneConfig:
    model = str(base_model_folder(folder))
    return load_config(home=folder / "home", base_model=model, consolidation={**CALM, **changes})


class House:
    """A home's rows, and consolidators over them."""

    def __init__(self, config: RuneConfig, database: Database) -> None:
        self.config, self.database = config, database
        self.jobs = JobStore(database)
        self.events = EventLog(database)
        self.trajectories = TrajectoryStore(database)
        self.quiet = 1000.0
        self.crashes: list[BaseException] = []

    def record(self, numbers: range, **changes: Any) -> list[str]:
        found = [self.trajectories.record(draft(n, **changes))[0].id for n in numbers]
        return found

    def make(self, config: RuneConfig | None = None) -> Consolidator:
        return Consolidator(
            config or self.config,
            self.database,
            self.jobs,
            kinds=("run_task", "distill", "evaluate", "evolve"),
            quiet_seconds=lambda: self.quiet,
            queued=lambda: None,
            on_crash=self.crashes.append,
        )

    @asynccontextmanager
    async def watching(self, config: RuneConfig | None = None) -> AsyncIterator[Consolidator]:
        consolidator = self.make(config)
        consolidator.start()
        try:
            yield consolidator
        finally:
            await consolidator.stop()
        assert self.crashes == []

    def of(self, kind: str) -> list[Job]:
        return [job for job in reversed(self.jobs.newest(500)) if job.kind == kind]

    def decisions(self, decision: str) -> list[LifecycleEvent]:
        events = self.events.history(limit=500)
        kind = "consolidation_decided"
        return [e for e in events if e.kind == kind and e.payload["decision"] == decision]

    def end(self, kind: str, result: dict[str, Any] | None = None, error: str = "") -> Job:
        """End the next job of a kind, as the runner would."""
        job = self.jobs.claim("1/2/3/4", [kind])
        assert job is not None
        if result is not None:
            return self.jobs.succeed(job, result)
        return self.jobs.fail(job, {"code": "training_error", "message": error})


@pytest.fixture
def house(config: RuneConfig) -> Iterator[House]:
    database = open_database(config)
    yield House(config, database)
    database.close()


async def test_what_is_due_is_asked_for_with_the_event_that_tells_of_it(house: House) -> None:
    ids = house.record(range(8))
    async with house.watching():
        await until(lambda: house.of("distill"), "a distillation is queued")
    (job,) = house.of("distill")
    params = DistillParams.model_validate(job.params)
    assert params.trajectory_ids is not None
    assert sorted([*params.trajectory_ids, *params.kept_back_ids]) == sorted(ids)
    assert len(params.kept_back_ids) == 2 and job.priority == PRIORITY
    (event,) = house.decisions("distill")
    assert (event.subject, event.project_id, event.caused_by) == (job.id, "shop", "schedule")
    assert event.payload["trained"] == 6 and "shop" in event.payload["reason"]


async def test_a_recorded_trajectory_wakes_it(house: House) -> None:
    house.record(range(7))
    async with house.watching() as consolidator:
        house.record(range(7, 8))
        consolidator.wake()
        await until(lambda: house.of("distill"), "a distillation is queued")


async def test_engines_that_come_and_go_ask_once(house: House) -> None:
    house.record(range(8))
    for _ in range(3):
        async with house.watching() as consolidator:
            await until(lambda: house.of("distill"), "a distillation is queued")
            consolidator.wake()
            await asyncio.sleep(0)
    assert len(house.of("distill")) == len(house.decisions("distill")) == 1


async def test_nothing_is_asked_for_while_a_task_is_unfinished(house: House) -> None:
    house.record(range(8))
    task = house.jobs.enqueue("run_task", RunTaskParams(task_description="Add"))
    async with house.watching() as consolidator:
        waits = "waits: a run_task job is unfinished"
        assert consolidator.status(stays=False).state == waits
        assert house.of("distill") == []
        house.jobs.cancel(task.id)
        consolidator.wake()
        await until(lambda: house.of("distill"), "a distillation is queued")


async def test_it_waits_for_quiet_and_then_acts_by_itself(house: House, tmp_path: Path) -> None:
    house.record(range(8))
    house.quiet = 0.0
    patient = config_with(tmp_path, quiet_seconds=0.2)
    consolidator = house.make(patient)
    assert "within 0.2 s" in consolidator.status(stays=False).state
    assert await consolidator.seconds_until_due() == pytest.approx(0.2)
    async with house.watching(patient):
        house.quiet = 1000.0
        await until(lambda: house.of("distill"), "a distillation is queued")


async def test_an_engine_need_not_stay_for_what_is_not_due(house: House) -> None:
    house.record(range(7))
    assert await house.make().seconds_until_due() is None


async def test_an_engine_need_not_stay_for_another_reason_than_quiet(
    house: House, tmp_path: Path
) -> None:
    house.record(range(8))
    crowded = config_with(tmp_path, min_free_memory_bytes=2**60)
    assert await house.make(crowded).seconds_until_due() is None


async def test_an_engine_does_not_end_while_a_job_is_unfinished(house: House) -> None:
    house.jobs.enqueue("run_task", RunTaskParams(task_description="Add"))
    assert await house.make().seconds_until_due() == 0.0


async def test_it_can_be_switched_off(house: House, tmp_path: Path) -> None:
    house.record(range(8))
    off = config_with(tmp_path, enabled=False)
    async with house.watching(off) as consolidator:
        assert consolidator.status(stays=True).state == "switched off"
        assert await consolidator.seconds_until_due() is None
    assert house.of("distill") == []


async def test_a_scripted_model_is_a_reason_in_words(house: House, tmp_path: Path) -> None:
    house.record(range(8))
    scripted = load_config(home=house.config.home, base_model="scripted:x", consolidation=CALM)
    status = house.make(scripted).status(stays=False)
    assert "cannot distill" in status.state and status.due == []


async def test_a_project_that_opted_out_is_left_alone(house: House) -> None:
    house.record(range(8))
    house.events.append("project_opted_out", "shop", project_id="shop")
    assert house.make().status(stays=False).due == []
    house.events.append("project_opted_in", "shop", project_id="shop")
    assert house.make().status(stays=False).due == ["shop (project level): 8 new trajectories"]


async def test_a_scope_that_failed_rests_and_says_so_once(house: House) -> None:
    house.record(range(8))
    async with house.watching() as consolidator:
        await until(lambda: house.of("distill"), "a distillation is queued")
        house.end("distill", error="The loss is not finite.")
        consolidator.wake()
        await until(lambda: house.decisions("skip"), "the skipped scope is told of")
        consolidator.wake()
    async with house.watching():
        pass
    (skipped,) = house.decisions("skip")
    assert "The loss is not finite." in skipped.payload["reason"]
    (resting,) = house.make().status(stays=False).resting
    assert resting.startswith("shop is left alone until")
    assert len(house.of("distill")) == 1


async def test_new_trajectories_end_the_rest(house: House) -> None:
    house.record(range(8))
    async with house.watching() as consolidator:
        await until(lambda: house.of("distill"), "a distillation is queued")
        house.end("distill", error="no memory")
        house.record(range(8, 12))
        consolidator.wake()
        await until(lambda: len(house.of("distill")) == 2, "it is tried again")


async def test_what_was_distilled_is_measured_and_then_judged(house: House) -> None:
    house.record(range(8))
    async with house.watching() as consolidator:
        await until(lambda: house.of("distill"), "a distillation is queued")
        house.end("distill", result={"adapter_id": "adapter-1"})
        consolidator.wake()
        await until(lambda: house.of("evaluate"), "its adapter is to be measured")
        assert house.of("evolve") == []
        house.end("evaluate", result={})
        consolidator.wake()
        await until(lambda: house.of("evolve"), "it is to be judged")
    assert house.of("evaluate")[0].params["adapter_id"] == "adapter-1"
    assert house.of("evaluate")[0].project_id == "shop"
    async with house.watching():
        pass
    assert [len(house.of(kind)) for kind in ("distill", "evaluate", "evolve")] == [1, 1, 1]


async def test_a_measurement_that_failed_is_judged_too_and_not_repeated(house: House) -> None:
    house.record(range(8))
    async with house.watching() as consolidator:
        await until(lambda: house.of("distill"), "a distillation is queued")
        house.end("distill", result={"adapter_id": "adapter-1"})
        consolidator.wake()
        await until(lambda: house.of("evaluate"), "its adapter is to be measured")
        house.end("evaluate", error="no model")
        consolidator.wake()
        await until(lambda: house.of("evolve"), "it is to be judged")
    assert len(house.of("evaluate")) == 1


async def test_a_users_own_distillation_is_not_followed(house: House) -> None:
    house.record(range(7))
    house.jobs.enqueue("distill", DistillParams(project_id="shop"))
    house.end("distill", result={"adapter_id": "adapter-1"})
    async with house.watching() as consolidator:
        consolidator.wake()
        assert consolidator.status(stays=False).due == []
    assert house.of("evaluate") == []


# --- without training ----------------------------------------------------------------------------


async def test_an_update_comes_before_its_training_and_both_are_measured(house: House) -> None:
    make_fast(Path(house.config.base_model))
    house.record(range(8))
    async with house.watching() as consolidator:
        await until(lambda: house.of("distill"), "an update is queued")
        house.end("distill", result={"adapter_id": "fast-1", "method": "closed_form"})
        consolidator.wake()
        await until(lambda: house.of("evaluate"), "it is to be measured, as it is quiet")
        house.end("evaluate", result={})
        consolidator.wake()
        await until(lambda: house.of("evolve"), "it is to be judged")
        house.end("evolve", result={})
        consolidator.wake()
        await until(lambda: len(house.of("distill")) == 2, "the training is queued")
    update, training = (DistillParams.model_validate(job.params) for job in house.of("distill"))
    assert (update.method, training.method) == ("auto", "direct")
    assert update.trajectory_ids == training.trajectory_ids
    assert update.kept_back_ids == training.kept_back_ids


async def test_while_somebody_works_adapters_are_updated_and_nothing_else(
    house: House, tmp_path: Path
) -> None:
    make_fast(Path(house.config.base_model))
    hurried = config_with(tmp_path, quiet_seconds=3600.0)
    make_fast(Path(hurried.base_model))
    house.quiet = 1.0
    house.record(range(8))
    async with house.watching(hurried) as consolidator:
        await until(lambda: house.of("distill"), "an update is queued")
        house.end("distill", result={"adapter_id": "fast-1", "method": "hypernetwork"})
        consolidator.wake()
        house.record(range(8, 9))
        consolidator.wake()
        await until(lambda: len(house.of("distill")) == 2, "one trajectory updates it")
        house.end("distill", result={"adapter_id": "fast-2", "method": "hypernetwork"})
        consolidator.wake()
    first, second = (DistillParams.model_validate(job.params) for job in house.of("distill"))
    assert second.method == "auto" and set(first.kept_back_ids) <= set(second.kept_back_ids)
    assert house.of("evaluate") == []
    async with house.watching():  # nothing keeps this one waiting
        await until(lambda: house.of("evaluate"), "the newest is to be measured")
    assert [job.params["adapter_id"] for job in house.of("evaluate")] == ["fast-2"]


async def test_an_engine_need_not_stay_for_a_training_that_is_not_due(
    house: House, tmp_path: Path
) -> None:
    patient = config_with(tmp_path, quiet_seconds=7200.0, fast_quiet_seconds=3600.0)
    make_fast(Path(patient.base_model))
    house.quiet = 0.0
    house.record(range(8))
    assert await house.make(patient).seconds_until_due() == pytest.approx(3600.0)
    status = house.make(patient).status(stays=False)
    assert "within 3600 s" in status.state
    assert status.due == [
        "shop (project level): 8 new trajectories, without training",
        "shop (project level): 8 new trajectories",
    ]
