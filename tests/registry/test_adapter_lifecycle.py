"""Every change of an adapter's state leaves its event, and what is forgotten is never served."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapter_files import draft, weights
from alembic import command
from alembic.config import Config as AlembicConfig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from rune_engine import migrations
from rune_engine.config import RuneConfig, load_config
from rune_engine.database import Database, open_database
from rune_engine.errors import (
    AdapterForgottenError,
    AdapterNotFoundError,
    InvalidInputError,
    StorageError,
)
from rune_engine.events import EventLog
from rune_engine.models import Attempt, LifecycleEvent, TrajectoryDraft
from rune_engine.registry import AdapterFilter, AdapterRegistry, lifecycle
from rune_engine.routing import Router
from rune_engine.trajectories import TrajectoryStore


@pytest.fixture
def log(database: Database) -> EventLog:
    return EventLog(database)


def kinds(events: list[LifecycleEvent]) -> list[str]:
    return [event.kind for event in reversed(events)]


def learnt(
    database: Database, adapter_id: str, *trajectory_ids: str, role: str = "trained"
) -> None:
    insert = text("INSERT INTO adapter_trajectories VALUES (:adapter, :trajectory, :role)")
    rows = [{"adapter": adapter_id, "trajectory": t, "role": role} for t in trajectory_ids]
    with database.writing() as session:
        session.connection().execute(insert, rows)


def recorded(database: Database, project: str = "alpha", task: str = "write f") -> str:
    attempt = Attempt(generated_code=f"# {task}\n", tests_passed=True)
    new = TrajectoryDraft(
        project_id=project, task_description=task, attempts=[attempt], outcome="success"
    )
    return TrajectoryStore(database).record(new)[0].id


def test_an_adapters_life_is_its_events(registry: AdapterRegistry, log: EventLog) -> None:
    stored = registry.store(draft(id="a"), weights(), caused_by="job-1")
    registry.update_fitness("a", 0.5, 0.25, tasks=20, samples_per_task=5, caused_by="job-2")
    registry.archive("a", reason="a better one came", caused_by="schedule")
    events = log.history(subject="a")
    assert kinds(events) == ["adapter_stored", "fitness_measured", "adapter_archived"]
    assert [event.caused_by for event in reversed(events)] == ["job-1", "job-2", "schedule"]
    assert {event.project_id for event in events} == {"alpha"}
    archived, measured, first = (event.payload for event in events)
    assert first["file_hash"] == stored.file_hash and first["parent_ids"] == []
    assert (measured["pass_rate"], measured["tasks"], measured["samples_per_task"]) == (0.5, 20, 5)
    assert measured["before"] == {"pass_rate": None, "fitness_score": None}
    assert archived == {"reason": "a better one came"}


def test_what_fails_or_changes_nothing_leaves_no_event(
    registry: AdapterRegistry, log: EventLog
) -> None:
    registry.store(draft(id="a"), weights())
    registry.archive("a")
    before = log.history()
    registry.archive("a", reason="again")
    registry.store(draft(id="b"), weights())
    assert kinds(log.history(subject="b")) == ["adapter_stored"]
    with pytest.raises(InvalidInputError):
        registry.update_fitness("a", 2.0, 0.0)
    with pytest.raises(AdapterNotFoundError):
        registry.archive("nobody")
    with pytest.raises(AdapterNotFoundError):
        registry.store(draft(id="c", parent_ids=["nobody"]), weights())
    with pytest.raises(AdapterNotFoundError):
        registry.forget(["a", "nobody"])
    assert log.history(subject="a") == before
    assert log.history(subject="c") == []
    assert registry.retrieve_by_id("a").forgotten_at is None


def test_a_forgotten_adapter_is_never_served_again(
    registry: AdapterRegistry, database: Database, log: EventLog
) -> None:
    registry.store(draft(id="a"), weights())
    registry.update_fitness("a", 1.0, 1.0)
    assert registry.forget(["a"], caused_by="user") == ["a"]
    assert registry.forget(["a"]) == []
    info = registry.retrieve_by_id("a")
    assert info.is_archived and info.forgotten_at is not None
    with pytest.raises(AdapterForgottenError) as caught:
        registry.verified_ref("a")
    assert caught.value.next_step
    assert Router(registry).retrieve("alpha", "general", "feature-impl", "tiny").adapter is None
    assert registry.query_best_for_task("feature-impl") is None
    assert registry.best(AdapterFilter(include_archived=True)) is None
    forgotten = log.newest("a", "adapter_forgotten")
    assert forgotten is not None and forgotten.payload["forgotten_at"] == info.forgotten_at
    undo = text("UPDATE adapter_records SET is_archived = 0, forgotten_at = NULL")
    with pytest.raises(StorageError, match="stays forgotten"), database.writing() as session:
        session.connection().execute(undo)


def test_forgetting_commits_with_the_transaction_it_belongs_to(
    registry: AdapterRegistry, database: Database, log: EventLog
) -> None:
    registry.store(draft(id="a"), weights())
    with pytest.raises(KeyError), database.writing() as session:
        lifecycle.mark_forgotten(session, ["a"], caused_by="user")
        raise KeyError
    assert registry.retrieve_by_id("a").forgotten_at is None
    assert kinds(log.history(subject="a")) == ["adapter_stored"]


def test_who_learnt_from_a_trajectory_is_known_over_generations(
    registry: AdapterRegistry, database: Database
) -> None:
    mine, other = recorded(database, task="one"), recorded(database, task="two")
    for name, parents, sources in (
        ("trained", [], [mine]),
        ("untouched", [], [other]),
        ("child", ["trained", "untouched"], [other]),
        ("grandchild", ["child"], [other]),
    ):
        registry.store(draft(id=name, parent_ids=parents), weights())
        learnt(database, name, *sources)
    registry.store(draft(id="judged"), weights())
    learnt(database, "judged", mine, role="kept_back")
    registry.store(draft(id="nobody-knows"), weights())
    registry.store(draft(id="elsewhere", project_id="beta"), weights())
    with database.reading() as session:
        found = lifecycle.dependents(session, [mine])
        assert lifecycle.dependents(session, []) == []
    assert found == ["child", "grandchild", "judged", "nobody-knows", "trained"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_dependents_are_exactly_what_can_be_reached(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = load_config(home=tmp_path_factory.mktemp("home"))
    database = open_database(config)
    registry = AdapterRegistry(database, config)
    trajectories = [recorded(database, task=f"task {n}") for n in range(3)]
    parents: dict[str, list[str]] = {}
    sources: dict[str, set[str]] = {}
    for number in range(data.draw(st.integers(1, 6))):
        name = f"a{number}"
        parents[name] = data.draw(st.lists(st.sampled_from(sorted(parents) or [""]), unique=True))
        parents[name] = [parent for parent in parents[name] if parent]
        sources[name] = data.draw(st.sets(st.sampled_from(trajectories), min_size=1))
        registry.store(draft(id=name, parent_ids=parents[name]), weights())
        learnt(database, name, *sources[name])
    asked = data.draw(st.sets(st.sampled_from(trajectories)))

    def depends(name: str) -> bool:
        return bool(sources[name] & asked) or any(depends(parent) for parent in parents[name])

    with database.reading() as session:
        found = lifecycle.dependents(session, asked)
    database.close()
    assert found == [name for name in sorted(sources) if depends(name)]


_OLD_ROW = """
INSERT INTO adapter_records (id, version, task_type, base_model_id, rank, created_at, file_path,
    file_hash, file_size_bytes, config_hash, pass_rate, fitness_score, source, session_id,
    is_archived, parent_ids, hierarchy_level, domain, project_id)
VALUES (:id, 1, 't', 'tiny', 2, '2026-01-01', :id, :hash, 1, :hash, :rate, :rate, 'manual', 's',
    :archived, '["x"]', 'project', 'd', 'alpha')
"""


def first_revision(config: RuneConfig, rows: list[dict[str, object]]) -> None:
    """A database as the first Rune left it."""
    config.home.mkdir()
    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine(f"sqlite:///{config.database_path}")
    with engine.begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0001")
        connection.execute(text(_OLD_ROW), rows)
    engine.dispose()


def test_adapters_from_before_the_events_get_theirs(config: RuneConfig) -> None:
    one, two = (
        {"id": name, "hash": name * 64, "rate": rate, "archived": rate is None}
        for name, rate in (("a", 0.5), ("b", None))
    )
    first_revision(config, [one, two])
    database = open_database(config)
    log = EventLog(database)
    assert kinds(log.history(subject="a")) == ["adapter_stored", "fitness_measured"]
    assert kinds(log.history(subject="b")) == ["adapter_stored", "adapter_archived"]
    measured, stored = (event.payload for event in log.history(subject="a"))
    assert measured == {"pass_rate": 0.5, "fitness_score": 0.5}
    assert (stored["file_hash"], stored["parent_ids"]) == ("a" * 64, ["x"])
    database.close()
