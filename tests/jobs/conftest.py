"""A database of its own for each test, and a clock that stands until it is set."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.jobs.store import JobStore


class StandingClock:
    """Shows the same time until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def timed(database: Database, clock: StandingClock) -> JobStore:
    """The same jobs, by the standing clock."""
    return JobStore(database, clock)
