"""The clock is set while Rune works: what is stored stays stored, found and whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import homes
import pytest

from rune_engine import events
from rune_engine.config import RuneConfig
from rune_engine.jobs.store import JobStore
from rune_engine.models import RunTaskParams
from rune_engine.registry import lifecycle, registry
from rune_engine.trajectories import store

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
JUMPS = {
    "back a minute": timedelta(minutes=-1),
    "back a year": timedelta(days=-365),
    "on an hour": timedelta(hours=1),
    "on ten years": timedelta(days=3650),
}


class Clock:
    """Shows the same time until it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def as_text(self) -> str:
        return self.now.isoformat(timespec="microseconds")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (store, registry, lifecycle, events):
        monkeypatch.setattr(module, "utc_now", clock.as_text)
    return clock


@pytest.fixture(params=JUMPS.values(), ids=JUMPS.keys())
def jump(request: pytest.FixtureRequest, clock: Clock) -> Callable[[], None]:
    def set_clock() -> None:
        clock.now += request.param

    return set_clock


def test_trajectories_are_found_and_known_again(
    config: RuneConfig, jump: Callable[[], None]
) -> None:
    with homes.opened(config.home) as stores:
        homes.record(stores, 0)
        jump()
        homes.record(stores, 1)
        homes.record_again(stores, 0, is_there=True)
        assert homes.check_trajectories(stores, [0, 1]) == 2
        assert len(stores.trajectories.distillable("shop")) == 2
        assert [stores.trajectories.page(offset=n, limit=1).total for n in (0, 1)] == [2, 2]


def test_adapters_are_found_verified_and_swept_only_when_lost(
    config: RuneConfig, jump: Callable[[], None]
) -> None:
    with homes.opened(config.home) as stores:
        homes.publish(stores, 0)
        jump()
        homes.publish(stores, 1)
        jump()
        stores.registry.archive(homes.adapter_id(0))
        homes.check_adapters(stores, [0, 1])
        homes.check_archived(stores, [0])
        homes.check_swept(stores)
        best = stores.registry.query_best_for_task("feature-impl")
        assert best is not None and best.id == homes.adapter_id(1)


def test_events_keep_their_order(config: RuneConfig, jump: Callable[[], None]) -> None:
    with homes.opened(config.home) as stores:
        homes.publish(stores, 0)
        jump()
        stores.registry.archive(homes.adapter_id(0))
        told = events.EventLog(stores.database).history(subject=homes.adapter_id(0))
        assert [event.kind for event in told] == ["adapter_archived", "adapter_stored"]


def test_a_job_ends_once_when_the_clock_jumps_between_its_claim_and_its_end(
    config: RuneConfig, clock: Clock, jump: Callable[[], None]
) -> None:
    with homes.opened(config.home) as stores:
        jobs = JobStore(stores.database, clock)
        queued = {
            jobs.enqueue("run_task", RunTaskParams(task_description=f"Task {n}")).id for n in (1, 2)
        }
        job = jobs.claim("owner")
        assert job is not None
        jump()
        assert jobs.succeed(job, {}).status == "succeeded"
        jump()
        other = jobs.claim("owner")
        assert other is not None, "a queued job waits for the clock to come back"
        assert {job.id, other.id} == queued
        assert jobs.fail(other, {"message": "no"}).status == "failed"
        assert jobs.unfinished() == []
