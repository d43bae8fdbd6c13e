"""Outcomes that nobody knows: kept and counted, never learned from, never a failure.

And the migration that made room for them, on a database of the version before with data in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from rune_engine import migrations
from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.errors import (
    InvalidTrajectoryError,
    NothingToDistillError,
    TrajectoryForgottenError,
)
from rune_engine.jobs.submission import gather
from rune_engine.models import Attempt, DistillParams, GitProvenance, TrajectoryDraft
from rune_engine.suspicion import teaches
from rune_engine.trajectories import ProjectCounts, TrajectoryStore

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> TrajectoryStore:
    return TrajectoryStore(database)


def draft(passed: bool | None = None, **changes: Any) -> TrajectoryDraft:
    attempt = Attempt(generated_code="def f(): ...", tests_passed=passed)
    given = {"project_id": "p", "task_description": "f", "attempts": [attempt]}
    return TrajectoryDraft.model_validate({**given, "outcome": "unknown", **changes})


def mined(evidence: str, **changes: Any) -> TrajectoryDraft:
    provenance = GitProvenance(commit_id=COMMIT, path="a/b.py", unit="f", evidence=evidence)  # type: ignore[arg-type]
    return draft(**{"source": "mined", "provenance": provenance, **changes})


def test_an_unknown_outcome_is_stored_shown_and_counted_and_teaches_nothing(
    store: TrajectoryStore,
) -> None:
    stored, _ = store.record(draft())
    assert store.get(stored.id).outcome == "unknown"
    assert store.page(project_id="p").total == 1
    assert store.counts() == [ProjectCounts("p", 1, 0, 0, 1)]
    assert store.distillable("p") == [] and store.count_distillable("p") == 0
    with pytest.raises(NothingToDistillError):
        gather(DistillParams(project_id="p", trajectory_ids=[stored.id]), store)
    assert not teaches(stored)


@pytest.mark.parametrize("passed", [True, False])
def test_what_has_a_verdict_is_not_unknown(store: TrajectoryStore, passed: bool) -> None:
    with pytest.raises(InvalidTrajectoryError, match="unknown"):
        store.record(draft(passed))


def test_the_database_itself_refuses_to_learn_from_the_unknown(
    store: TrajectoryStore, config: RuneConfig
) -> None:
    store.record(draft())
    columns = (
        "session_id, project_id, domain, task_type, task_description, test_suite, outcome,"
        " held_out, agent_id, adapter_id, source, created_at, provenance"
    )
    insert = (
        f"INSERT INTO trajectories (id, content_hash, distillable, {columns})"
        f" SELECT 'other', '{'0' * 64}', 1, {columns} FROM trajectories"
    )
    with (
        closing(sqlite3.connect(config.database_path)) as bare,
        pytest.raises(sqlite3.IntegrityError, match="CHECK"),
    ):
        bare.execute(insert)


def test_where_it_was_mined_comes_back_as_it_was_recorded(store: TrajectoryStore) -> None:
    given = mined("none")
    stored, _ = store.record(given)
    assert store.get(stored.id).provenance == given.provenance
    assert store.record(mined("none"))[1]


def test_trusted_code_teaches_and_says_so(store: TrajectoryStore) -> None:
    stored, _ = store.record(mined("trusted", outcome="success"))
    assert store.distillable("p") == [stored]
    assert teaches(stored) and stored.attempts[-1].tests_passed is None
    kept, _ = store.record(mined("trusted", outcome="success", held_out=True, task_description="g"))
    assert kept not in store.distillable("p")


@pytest.mark.parametrize("evidence", ["none", "tests"])
def test_without_trust_a_success_needs_a_pass(store: TrajectoryStore, evidence: str) -> None:
    store.record(mined(evidence, outcome="success"))
    assert store.distillable("p") == []


@pytest.mark.parametrize("changes", [{"source": "recorded"}, {"passed": True}])
def test_trust_is_for_mined_code_that_no_test_judged(
    store: TrajectoryStore, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidTrajectoryError, match="trusted"):
        store.record(mined("trusted", outcome="success", **changes))


def test_what_was_forgotten_stays_so_under_an_id_that_is_always_the_same(
    store: TrajectoryStore, database: Database
) -> None:
    with database.changing() as connection:
        connection.execute(f"INSERT INTO erasures VALUES ('same', 's', '{'0' * 64}', 'then')")
    with pytest.raises(TrajectoryForgottenError, match="then"):
        store.record(mined("none"), trajectory_id="same")
    assert store.page().total == 0


# --- the migration -------------------------------------------------------------------------------


def schema(connection: sqlite3.Connection) -> dict[str, str]:
    """Every index and trigger of the two tables, by name."""
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger')"
        " AND sql IS NOT NULL AND tbl_name IN ('trajectories', 'attempts')"
    )
    return dict(rows.fetchall())


def old_home(config: RuneConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A home as 0002 left it, with two sessions; what it holds, and its indexes and triggers."""
    with monkeypatch.context() as before:
        before.setattr(migrations, "upgrade", partial(migrations.upgrade, revision="0002"))
        before.setattr(migrations, "HEAD", "0002")
        open_database(config).close()
    with closing(sqlite3.connect(config.database_path)) as bare:
        bare.execute("PRAGMA foreign_keys = ON")
        for number in range(20):
            session = f"s-{number % 2}"
            bare.execute(
                "INSERT INTO sessions SELECT ?, 'p', NULL, 'then'"
                " WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE id = ?)",
                (session, session),
            )
            outcome = "success" if number % 3 else "exhausted"
            row = (f"t-{number}", session, outcome, outcome == "success", f"{number:064d}")
            bare.execute(
                "INSERT INTO trajectories VALUES (?, ?, 'p', 'web', 'bug-fix', 'do ✗ it', '', ?,"
                " 0, ?, NULL, 'a-1', 'agent_loop', ?, 'then')",
                row,
            )
            for position in range(number % 4 + 1):
                values = (f"t-{number}", position, number % 3 != 0)
                bare.execute(
                    "INSERT INTO attempts VALUES (?, ?, 'code', 'out', '', 1, ?, '{\"a\": 1}')",
                    values,
                )
        bare.commit()
        return {"rows": _rows(bare), "schema": schema(bare)}


def _rows(bare: sqlite3.Connection) -> list[Any]:
    trajectories = bare.execute("SELECT * FROM trajectories ORDER BY id").fetchall()
    attempts = bare.execute("SELECT * FROM attempts ORDER BY trajectory_id, position").fetchall()
    return [[row[:15] for row in trajectories], attempts]


def test_an_older_home_keeps_every_row_index_and_trigger(
    config: RuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = old_home(config, monkeypatch)
    database = open_database(config)
    store = TrajectoryStore(database)
    with closing(sqlite3.connect(config.database_path)) as bare:
        bare.execute("PRAGMA foreign_keys = ON")
        assert _rows(bare) == before["rows"]
        after = schema(bare)
        assert after.pop("ix_trajectories_counts") != before["schema"].pop("ix_trajectories_counts")
        assert after.items() >= before["schema"].items()
        assert bare.execute("PRAGMA foreign_key_check").fetchall() == []
        assert bare.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for statement in (
            "DELETE FROM trajectories",
            "DELETE FROM attempts",
            "UPDATE trajectories SET outcome = 'success'",
            "INSERT OR REPLACE INTO attempts SELECT * FROM attempts",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="write-once"):
                bare.execute(statement)
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            bare.execute("INSERT INTO attempts VALUES ('nobody', 0, '', '', '', 0, 0, NULL)")
            bare.commit()
    assert store.get("t-7").provenance is None
    assert store.counts() == [ProjectCounts("p", 20, 13, 0, 0)]
    assert store.record(draft())[0].outcome == "unknown"
    database.close()
