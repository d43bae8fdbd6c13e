"""Training and serving take turns at the accelerator, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engine_support import WAIT_SECONDS, scripted_config

from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.events import EventLog
from rune_engine.inference.factory import ProviderPool
from rune_engine.jobs.lease import SUBJECT, AcceleratorLease


class Row:
    """What a job's row would say."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, _fraction: float, message: str) -> None:
        self.said.append(message)


@pytest.fixture
async def events(tmp_path: Path) -> AsyncIterator[EventLog]:
    database = open_database(scripted_config(tmp_path))
    yield EventLog(database)
    database.close()


def lease_of(config: RuneConfig, events: EventLog, exclusive: str = "always") -> AcceleratorLease:
    return AcceleratorLease(ProviderPool(config), events, exclusive)


def told(events: EventLog) -> list[str]:
    return [event.kind for event in reversed(events.history(subject=SUBJECT))]


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        await event.wait()


async def settle() -> None:
    """Let every task go as far as it can without outside help."""
    for _ in range(50):
        await asyncio.sleep(0)


class Serving:
    """A job that serves until it is let go."""

    def __init__(self, lease: AcceleratorLease) -> None:
        self.row, self.began, self.end = Row(), asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._serve(lease))

    async def _serve(self, lease: AcceleratorLease) -> None:
        async with lease.serving(self.row):
            self.began.set()
            await soon(self.end)

    async def finish(self) -> None:
        self.end.set()
        await asyncio.wait_for(self.task, WAIT_SECONDS)


class Training(Serving):
    """A job that trains until it is let go."""

    def __init__(self, lease: AcceleratorLease, name: str = "job-1", polite: bool = False) -> None:
        self.name, self.polite = name, polite
        super().__init__(lease)

    async def _serve(self, lease: AcceleratorLease) -> None:
        async with lease.training(self.name, self.row, polite=self.polite):
            self.began.set()
            await soon(self.end)


async def test_serving_waits_while_a_job_trains_and_its_row_says_why(
    config: RuneConfig, events: EventLog
) -> None:
    lease = lease_of(config, events)
    training = Training(lease)
    await soon(training.began)
    serving = Serving(lease)
    await settle()
    assert not serving.began.is_set()
    assert "waits" in serving.row.said[-1] and "job-1" in serving.row.said[-1]
    assert told(events) == ["serving_slept"]
    await training.finish()
    await soon(serving.began)
    assert told(events) == ["serving_slept", "serving_woke"]
    await serving.finish()


async def test_training_waits_for_those_who_serve_and_comes_before_later_ones(
    config: RuneConfig, events: EventLog
) -> None:
    lease = lease_of(config, events)
    first = Serving(lease)
    await soon(first.began)
    training = Training(lease)
    await settle()
    later = Serving(lease)
    await settle()
    assert not training.began.is_set() and not later.began.is_set()
    assert training.row.said == ["waits: the model is in use"]
    await first.finish()
    await soon(training.began)
    assert not later.began.is_set()
    await training.finish()
    await soon(later.began)
    await later.finish()


async def test_polite_training_lets_later_ones_go_first(
    config: RuneConfig, events: EventLog
) -> None:
    lease = lease_of(config, events)
    first = Serving(lease)
    await soon(first.began)
    training = Training(lease, polite=True)
    await settle()
    later = Serving(lease)
    await soon(later.began)
    await first.finish()
    await settle()
    assert not training.began.is_set()
    await later.finish()
    await soon(training.began)
    await training.finish()


async def test_a_user_who_wants_to_train_goes_before_the_schedule(
    config: RuneConfig, events: EventLog
) -> None:
    lease = lease_of(config, events)
    first = Serving(lease)
    await soon(first.began)
    polite = Training(lease, "polite", polite=True)
    await settle()
    asked = Training(lease, "asked")
    await settle()
    await first.finish()
    await soon(asked.began)
    assert not polite.began.is_set()
    await asked.finish()
    await soon(polite.began)
    await polite.finish()


async def test_a_trainer_that_is_cancelled_while_it_waits_blocks_nobody(
    config: RuneConfig, events: EventLog
) -> None:
    lease = lease_of(config, events)
    first = Serving(lease)
    await soon(first.began)
    training = Training(lease)
    await settle()
    later = Serving(lease)
    await settle()
    training.task.cancel()
    await soon(later.began)
    await asyncio.gather(first.finish(), later.finish())
    assert told(events) == []


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_serving_wakes_however_training_ends(
    config: RuneConfig, events: EventLog, how: str
) -> None:
    lease = lease_of(config, events)
    training = Training(lease)
    await soon(training.began)
    if how == "cancelled":
        training.task.cancel()
        await asyncio.wait([training.task], timeout=WAIT_SECONDS)
    else:
        training.end.set()
        await asyncio.wait_for(training.task, WAIT_SECONDS)
        with pytest.raises(RuntimeError, match="broke"):
            async with lease.training("job-2", Row()):
                raise RuntimeError("broke")
    serving = Serving(lease)
    await soon(serving.began)
    await serving.finish()
    assert told(events)[-1] == "serving_woke"


async def test_an_engine_that_died_while_serving_slept_is_woken_by_the_next(
    config: RuneConfig, events: EventLog
) -> None:
    assert await lease_of(config, events).recover() is False
    events.append("serving_slept", SUBJECT, caused_by="job-1")
    assert await lease_of(config, events).recover() is True
    assert told(events) == ["serving_slept", "serving_woke"]
    assert await lease_of(config, events).recover() is False


async def test_where_nothing_is_shared_both_run(config: RuneConfig, events: EventLog) -> None:
    lease = lease_of(config, events, "never")
    training, serving = Training(lease), Serving(lease)
    await soon(training.began)
    await soon(serving.began)
    await asyncio.gather(training.finish(), serving.finish())
    assert told(events) == []


async def test_any_mixture_of_jobs_comes_to_an_end(config: RuneConfig, events: EventLog) -> None:
    """And never do two train at once, or one trains while another serves."""
    lease, inside = lease_of(config, events), {"serving": 0, "training": 0}

    async def job(number: int) -> None:
        kind = "training" if number % 3 == 0 else "serving"
        turn = (
            lease.training(str(number), Row(), polite=number % 2 == 0)
            if kind == "training"
            else lease.serving(Row())
        )
        async with turn:
            inside[kind] += 1
            await asyncio.sleep(0)
            assert inside["training"] == 0 or inside == {"serving": 0, "training": 1}
            inside[kind] -= 1

    await asyncio.wait_for(asyncio.gather(*(job(number) for number in range(30))), WAIT_SECONDS)
    assert told(events) == ["serving_slept", "serving_woke"] * 10
