"""Connections that are kept for reading: consistent, read-only, of one process, and closed."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.errors import StorageError

INSERT = "INSERT INTO sessions VALUES ('{}', 'p', NULL, 'now')"
COUNT = "SELECT count(*) FROM sessions"


def add(database: Database, name: str) -> None:
    with database.writing() as session:
        session.connection().execute(text(INSERT.format(name)))


def test_a_snapshot_does_not_see_what_is_committed_meanwhile(database: Database) -> None:
    with database.snapshot() as connection:
        assert connection.execute(COUNT).fetchone() == (0,)
        add(database, "a")
        assert database.query(COUNT) == [(1,)]
        assert connection.execute(COUNT).fetchone() == (0,)
    with database.snapshot() as connection:
        assert connection.execute(COUNT).fetchone() == (1,)


def test_what_reads_cannot_write(database: Database) -> None:
    with pytest.raises(StorageError):
        database.query(INSERT.format("a"))
    with pytest.raises(StorageError), database.snapshot() as connection:
        connection.execute(INSERT.format("a"))
    assert database.query(COUNT) == [(0,)]


def test_a_failed_query_leaves_the_connection_usable(database: Database) -> None:
    with pytest.raises(StorageError):
        database.query("SELECT * FROM nothing_of_ours")
    with pytest.raises(KeyError), database.snapshot():
        raise KeyError
    add(database, "a")
    assert database.query(COUNT) == [(1,)]


def test_threads_share_few_connections(database: Database, config: RuneConfig) -> None:
    add(database, "a")
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: database.query(COUNT), range(400)))
    assert found == [[(1,)]] * 400
    assert len(open_files(config.database_path)) <= 20


def open_files(path: Path) -> list[str]:
    return [file.path for file in psutil.Process().open_files() if Path(file.path) == path]


def test_closing_closes_every_connection(database: Database, config: RuneConfig) -> None:
    database.query(COUNT)
    with database.snapshot():
        database.close()
    assert open_files(config.database_path) == []
    with pytest.raises(StorageError, match="closed"):
        database.query(COUNT)


def test_a_forked_child_may_not_use_it(database: Database) -> None:
    database.query(COUNT)
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (lambda: database.query(COUNT), database.snapshot, database.reading):
            try:
                with use():  # type: ignore[attr-defined]
                    pass
            except StorageError as error:
                refused += "forked" in str(error)
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert database.query(COUNT) == [(0,)]


def test_a_database_that_is_gone_is_not_made_anew(database: Database, config: RuneConfig) -> None:
    with sqlite3.connect(config.database_path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    config.database_path.rename(config.home / "moved")
    with pytest.raises(StorageError):
        database.query(COUNT)
    assert not config.database_path.exists()
