"""Back-ends that refuse to sleep or to wake, or never answer, do not hold the accelerator."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from engine_support import WAIT_SECONDS, scripted_config

from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.errors import InferenceError
from rune_engine.events import EventLog
from rune_engine.inference.factory import ProviderPool
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.jobs.lease import SUBJECT, AcceleratorLease

SOON = 0.05


class Server(ScriptedProvider):
    """A back-end as a server of its own is: it stays asleep until it is woken, and can refuse."""

    def __init__(self, script: Path) -> None:
        super().__init__(script)
        self.asleep = False
        self.did: list[str] = []
        self.refuses: set[str] = set()
        self.open = asyncio.Event()
        self.open.set()

    async def sleep(self) -> None:
        await self._obey("sleep")
        self.asleep = True

    async def wake(self) -> None:
        await self._obey("wake")
        self.asleep = False

    async def _obey(self, order: str) -> None:
        self.did.append(order)
        if order in self.refuses:
            raise OSError(f"the server refuses to {order}")
        await self.open.wait()
        self.did.append(f"{order} done")


@pytest.fixture
async def events(tmp_path: Path) -> AsyncIterator[EventLog]:
    database = open_database(scripted_config(tmp_path))
    yield EventLog(database)
    database.close()


class Ground:
    """A lease over servers that are made as the pool asks for them."""

    def __init__(self, config: RuneConfig, events: EventLog, folder: Path, **lease: float) -> None:
        self.servers: dict[str, Server] = {}
        self._script = folder / "servers.json"
        self._script.write_text(json.dumps([{"contains": "", "answers": ["yes"]}]))
        self.pool = ProviderPool(config, self._make)
        self.events = events
        self.lease = AcceleratorLease(self.pool, events, "always", **lease)
        self.mine = config.base_model

    def _make(self, name: str, _config: RuneConfig) -> Server:
        return self.servers.setdefault(name, Server(self._script))

    def server(self, name: str | None = None) -> Server:
        self.pool.get(name)
        return self.servers[name or self.mine]

    def told(self) -> list[str]:
        return [event.kind for event in reversed(self.events.history(subject=SUBJECT))]

    async def train(self, name: str = "job-1") -> None:
        async with asyncio.timeout(WAIT_SECONDS), self.lease.training(name, ignore):
            assert all(server.asleep for server in self.servers.values())

    async def serve(self, name: str | None = None) -> None:
        async with asyncio.timeout(WAIT_SECONDS), self.lease.serving(ignore, name):
            assert not self.server(name).asleep


@pytest.fixture
def ground(config: RuneConfig, events: EventLog, tmp_path: Path) -> Ground:
    return Ground(config, events, tmp_path)


def ignore(_fraction: float, _message: str) -> None:
    """A report that nobody reads."""


async def settle() -> None:
    """Let every task go as far as it can without outside help, threads included."""
    for _ in range(20):
        await asyncio.sleep(0.005)


async def test_a_server_that_nobody_asked_yet_sleeps_too(ground: Ground) -> None:
    await ground.train()
    assert ground.server().did == ["sleep", "sleep done", "wake", "wake done"]


async def test_one_that_refuses_to_sleep_fails_that_training_only(ground: Ground) -> None:
    ground.server().refuses = {"sleep"}
    with pytest.raises(InferenceError, match="refuses to sleep"):
        await ground.train()
    await ground.serve()
    ground.server().refuses = set()
    await ground.train("job-2")
    assert ground.told() == ["serving_slept", "serving_woke"] * 2


async def test_one_that_does_not_answer_is_given_up(
    config: RuneConfig, events: EventLog, tmp_path: Path
) -> None:
    ground = Ground(config, events, tmp_path, provider_seconds=SOON)
    ground.server().open.clear()
    with pytest.raises(InferenceError, match="took too long"):
        await ground.train()
    with pytest.raises(InferenceError, match="wake up: it took too long"):
        await ground.serve()
    ground.server().open.set()
    await ground.serve()
    await ground.train("job-2")


async def test_one_that_does_not_wake_costs_no_training_and_is_tried_again(
    ground: Ground,
) -> None:
    ground.server().refuses = {"wake"}
    await ground.train()
    assert ground.told() == ["serving_slept"]
    for _ in range(2):
        with pytest.raises(InferenceError, match="refuses to wake"):
            await ground.serve()
    ground.server().refuses = set()
    await ground.serve()
    await ground.serve()
    assert ground.told() == ["serving_slept", "serving_woke"]
    await ground.train("job-2")


async def test_one_that_does_not_wake_keeps_nobody_from_another(ground: Ground) -> None:
    broken, fine = ground.server("broken"), ground.server("fine")
    broken.refuses = {"wake"}
    await ground.train()
    assert broken.asleep and not fine.asleep
    await ground.serve("fine")
    with pytest.raises(InferenceError, match="'broken' did not wake up"):
        await ground.serve("broken")


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_training_lets_no_order_overtake_another(
    ground: Ground, times: int
) -> None:
    """An order to sleep that is cut off could reach the server after the one to wake."""
    server = ground.server()
    server.open.clear()
    training = asyncio.create_task(ground.train())
    while "sleep" not in server.did:
        await settle()
    for _ in range(times):
        training.cancel()
        await settle()
    server.open.set()
    await asyncio.wait([training], timeout=WAIT_SECONDS)
    assert training.cancelled()
    assert server.did == ["sleep", "sleep done", "wake", "wake done"]
    await ground.serve()


async def test_those_who_waited_are_served_before_the_next_trains(ground: Ground) -> None:
    order: list[str] = []
    gate = asyncio.Event()

    async def train(name: str) -> None:
        async with ground.lease.training(name, ignore):
            order.append(name)
            await gate.wait()

    async def serve(name: str) -> None:
        async with ground.lease.serving(ignore):
            order.append(name)

    first = asyncio.create_task(train("train 1"))
    while not order:
        await settle()
    others = [asyncio.create_task(train("train 2")), asyncio.create_task(train("train 3"))]
    await settle()
    others += [asyncio.create_task(serve("serve 1")), asyncio.create_task(serve("serve 2"))]
    await settle()
    gate.set()
    await asyncio.wait_for(asyncio.gather(first, *others), WAIT_SECONDS)
    assert set(order[1:3]) == {"serve 1", "serve 2"}


async def test_a_polite_trainer_does_not_wait_for_ever(
    config: RuneConfig, events: EventLog, tmp_path: Path
) -> None:
    """Somebody is served at every moment, by turns, until its patience ends."""
    ground = Ground(config, events, tmp_path, patience_seconds=4 * SOON)
    trained = asyncio.Event()

    async def client() -> None:
        while not trained.is_set():
            async with ground.lease.serving(ignore):
                await asyncio.sleep(SOON)

    async def train() -> None:
        async with ground.lease.training("polite", ignore, polite=True):
            trained.set()

    clients = [asyncio.create_task(client())]
    await asyncio.sleep(SOON / 2)
    clients.append(asyncio.create_task(client()))
    await asyncio.wait_for(train(), WAIT_SECONDS)
    await asyncio.wait_for(asyncio.gather(*clients), WAIT_SECONDS)


async def test_the_next_engine_wakes_servers_that_it_never_asked(ground: Ground) -> None:
    slept = ["served-once", "gone"]
    ground.events.append("serving_slept", SUBJECT, caused_by="job-1", base_models=slept)
    assert await ground.lease.recover() is True
    assert sorted(ground.servers) == sorted([*slept, ground.mine])
    assert all("wake done" in server.did for server in ground.servers.values())
    assert ground.told() == ["serving_slept", "serving_woke"]


async def test_an_engine_starts_although_a_server_cannot_be_woken(ground: Ground) -> None:
    ground.server().refuses = {"wake"}
    ground.events.append("serving_slept", SUBJECT, caused_by="job-1")
    assert await ground.lease.recover() is False
    with pytest.raises(InferenceError, match="refuses to wake"):
        await ground.serve()
    ground.server().refuses = set()
    await ground.serve()
    assert ground.told() == ["serving_slept", "serving_woke"]


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_storm_of_cancels_and_refusals_both_can_work(
    config: RuneConfig, events: EventLog, tmp_path: Path, seed: int
) -> None:
    ground = Ground(config, events, tmp_path, patience_seconds=SOON)
    chance = random.Random(seed)
    inside = {"serving": 0, "training": 0}

    async def job(number: int) -> None:
        kind = "training" if number % 4 == 0 else "serving"
        turn = (
            ground.lease.training(str(number), ignore, polite=number % 8 == 0)
            if kind == "training"
            else ground.lease.serving(ignore)
        )
        async with turn:
            inside[kind] += 1
            try:
                await asyncio.sleep(chance.random() * 0.002)
                assert inside["training"] == 0 or inside == {"serving": 0, "training": 1}
                assert ground.server().asleep is (kind == "training")
            finally:
                inside[kind] -= 1

    tasks = [asyncio.create_task(job(number)) for number in range(80)]
    while not all(task.done() for task in tasks):
        ground.server().refuses = set(chance.sample(["sleep", "wake"], chance.randrange(3)))
        chance.choice(tasks).cancel()
        await asyncio.sleep(0.001)
    failures = [task.exception() for task in tasks if not task.cancelled()]
    assert all(failure is None or isinstance(failure, InferenceError) for failure in failures)
    ground.server().refuses = set()
    with suppress(InferenceError):
        await ground.serve()
    await ground.train("last")
    await ground.serve()
