"""A database of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from standing_clock import StandingClock

from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.jobs.store import JobStore


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
