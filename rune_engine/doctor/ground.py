"""What the examinations of a home's data look at: its files, and one snapshot of its rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from rune_engine import migrations
from rune_engine.backup.snapshot import StoredAdapter
from rune_engine.config import RuneConfig
from rune_engine.database import connect_reader

_ADAPTERS = (
    "SELECT id, file_hash, config_hash, file_size_bytes, forgotten_at FROM adapter_records"
    " ORDER BY id"
)


@dataclass
class Ground:
    """One home; `connection` is in a read transaction."""

    config: RuneConfig
    connection: sqlite3.Connection
    bytes_hashed: int = 0
    notes: list[str] = field(default_factory=list)

    def adapters(self) -> list[StoredAdapter]:
        """The rows, by id."""
        return [StoredAdapter(*row) for row in self.connection.execute(_ADAPTERS)]

    def count(self, table: str) -> int:
        """How many rows a table of ours has."""
        return int(self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@contextmanager
def opened(config: RuneConfig) -> Iterator[Ground]:
    """The home's database, as it is: not migrated, not written. Raises sqlite3.Error."""
    with closing(connect_reader(config.database_path)) as connection:
        connection.execute("BEGIN")
        yield Ground(config, connection)


def revision(ground: Ground) -> str:
    """The database's revision. Raises sqlite3.Error when it has none."""
    row = ground.connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return "" if row is None else str(row[0])


def is_current(ground: Ground) -> bool:
    """Whether its tables are those that this Rune works with."""
    return revision(ground) == migrations.HEAD
