"""The database file: private, durable, migrated once, and never touched when it is not ours."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from rune_engine import migrations
from rune_engine.config import RuneConfig, load_config
from rune_engine.database import Database, open_database
from rune_engine.errors import DatabaseTooNewError, HomeNotWritableError, StorageError
from rune_engine.jobs.store import JobRecord
from rune_engine.registry import AdapterRecord
from rune_engine.trajectories.records import AttemptRecord, SessionRecord, TrajectoryRecord

TABLES = (AdapterRecord, SessionRecord, TrajectoryRecord, AttemptRecord, JobRecord)
OPEN = """
import sys
from rune_engine.config import load_config
from rune_engine.database import open_database
open_database(load_config(home=sys.argv[1])).close()
print("alembic" in sys.modules)
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_home_and_its_database_are_the_owners_alone(
    database: Database, config: RuneConfig
) -> None:
    assert mode(config.home) == 0o700
    for path in config.home.glob("rune.db*"):
        assert mode(path) == 0o600, path


def test_every_connection_is_durable_and_safe(database: Database) -> None:
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "busy_timeout": 30_000,
    }
    with database.reading() as session:
        found = {name: session.connection().scalar(text(f"PRAGMA {name}")) for name in expected}
    assert found == expected


def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(StorageError), database.reading() as session:
        session.connection().execute(text("INSERT INTO sessions VALUES ('a', 'b', NULL, 'c')"))


def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    insert = text("INSERT INTO sessions VALUES ('a', 'b', NULL, 'c')")
    with pytest.raises(KeyError), database.writing() as session:
        session.connection().execute(insert)
        raise KeyError
    with database.reading() as session:
        assert session.connection().scalar(text("SELECT count(*) FROM sessions")) == 0


def test_the_revision_known_without_alembic_is_the_newest() -> None:
    folder = Path(migrations.__file__).parent
    assert ScriptDirectory(str(folder)).get_current_head() == migrations.HEAD


def test_the_models_are_the_tables(database: Database) -> None:
    with database.reading() as session:
        inspector = inspect(session.connection())
        for table in TABLES:
            found = {c["name"]: c["nullable"] for c in inspector.get_columns(table.__tablename__)}
            assert found == {c.name: c.nullable for c in table.__table__.columns}


def test_processes_that_open_a_new_home_at_once_all_succeed(tmp_path: Path) -> None:
    home = str(tmp_path / "a home, 100%")
    command = [sys.executable, "-c", OPEN, home]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    later = subprocess.run(command, capture_output=True, timeout=120, check=True)
    assert later.stdout == b"False\n", "an up-to-date database needs no Alembic"


def test_a_newer_runes_database_is_refused_and_left_untouched(config: RuneConfig) -> None:
    open_database(config).close()
    with sqlite3.connect(config.database_path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = config.database_path.read_bytes()
    with pytest.raises(DatabaseTooNewError, match="9999"):
        open_database(config)
    assert config.database_path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_with_a_next_step(config: RuneConfig) -> None:
    config.home.mkdir()
    config.database_path.write_bytes(b"once upon a time " * 100)
    with pytest.raises(StorageError) as caught:
        open_database(config)
    assert caught.value.next_step
    assert config.database_path.read_bytes() == b"once upon a time " * 100


def test_another_programs_database_is_refused(config: RuneConfig) -> None:
    config.home.mkdir()
    connection = sqlite3.connect(config.database_path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = config.database_path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        open_database(config)
    assert config.database_path.read_bytes() == before


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeNotWritableError):
        open_database(load_config(home=tmp_path / "home"))
    with pytest.raises(HomeNotWritableError):
        open_database(load_config(home=tmp_path / "home" / "below"))
