"""What has changed since somebody last looked, found by indexes and without counting as work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_support import draft
from query_plans import plans, slow_steps, statements_of

from rune_engine import events
from rune_engine.config import RuneConfig, load_config
from rune_engine.database import Database, open_database
from rune_engine.forgetting import Forgetting
from rune_engine.jobs.store import JobStore
from rune_engine.models import ForgetParams
from rune_engine.service.changes import ChangeFeed
from rune_engine.trajectories import TrajectoryStore


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory) -> RuneConfig:
    return load_config(home=tmp_path_factory.mktemp("home"))


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


def test_without_a_cursor_nothing_has_changed(database: Database) -> None:
    TrajectoryStore(database).record(draft())
    found = ChangeFeed(database).since(None)
    assert (found.trajectories, found.history) == ([], False)
    again = ChangeFeed(database).since(found.cursor)
    assert (again.trajectories, again.projects, again.jobs) == ([], [], [])
    assert again.cursor == found.cursor


def test_each_change_is_told_once(database: Database) -> None:
    feed, store, jobs = ChangeFeed(database), TrajectoryStore(database), JobStore(database)
    store.record(draft(0))
    cursor = feed.since(None).cursor
    stored, _ = store.record(draft(1))
    job = jobs.enqueue("distill", {"project_id": "shop"})
    found = feed.since(cursor)
    assert (found.trajectories, found.jobs, found.projects) == ([stored.id], [job.id], ["shop"])
    assert not found.history
    assert feed.since(found.cursor).jobs == []
    jobs.cancel(job.id)
    ended = feed.since(found.cursor)
    assert (ended.jobs, ended.history) == ([job.id], True)
    assert feed.since(ended.cursor).jobs == []


def test_a_job_that_began_and_ended_between_two_looks_is_told(database: Database) -> None:
    feed, jobs = ChangeFeed(database), JobStore(database)
    cursor = feed.since(None).cursor
    job = jobs.enqueue("distill", {"project_id": "shop"})
    jobs.cancel(job.id)
    found = feed.since(cursor)
    assert (found.jobs, found.history, found.projects) == ([job.id], True, ["shop"])


def test_a_decision_names_every_adapter_it_is_about(database: Database) -> None:
    feed = ChangeFeed(database)
    cursor = feed.since(None).cursor
    events.EventLog(database).append(
        "evolution_decided", "a", project_id="shop", archive={"b": "worse"}, stored=["c"]
    )
    found = feed.since(cursor)
    assert (found.adapters, found.projects, found.history) == (["a", "b", "c"], ["shop"], True)


def test_what_was_forgotten_is_told(config: RuneConfig, database: Database) -> None:
    feed = ChangeFeed(database)
    TrajectoryStore(database).record(draft())
    cursor = feed.since(None).cursor
    Forgetting(database, config).forget(ForgetParams(project_id="shop"))
    found = feed.since(cursor)
    assert (found.erased, found.history, found.projects) == (True, True, ["shop"])


def test_looking_reads_no_table_through(database: Database) -> None:
    feed, jobs = ChangeFeed(database), JobStore(database)
    cursor = feed.since(None).cursor
    jobs.cancel(jobs.enqueue("distill", {"project_id": "shop"}).id)
    with statements_of(database) as statements:
        feed.since(None)
        feed.since(cursor)
    found = plans(database, statements)
    assert len(found) >= 8
    assert [
        (step, said)
        for step, said in slow_steps(found)
        if "USING COVERING INDEX" not in step and "SCAN jobs USING INDEX" not in step
    ] == []
