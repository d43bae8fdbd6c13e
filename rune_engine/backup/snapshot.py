"""A copy of a database at one moment, and what a backup must know of what is in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rune_engine.errors import BackupError

_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """An adapter's row, as far as its files are concerned."""

    id: str
    file_hash: str
    config_hash: str
    file_size_bytes: int
    forgotten_at: str | None

    @property
    def object_name(self) -> str:
        """Its weights, relative to the home."""
        return f"objects/{self.file_hash[:2]}/{self.file_hash}.safetensors"

    @property
    def config_name(self) -> str:
        """Its configuration, relative to the home."""
        return f"adapters/{self.id}/adapter_config.json"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a database."""

    revision: str
    adapters: list[StoredAdapter]
    trajectories: int


def take_snapshot(source: Path, copy: Path) -> None:
    """Write what a database holds now to a new file, without what was deleted from it.

    Writers go on meanwhile. Raises sqlite3.Error.
    """
    uri = f"{source.as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    with closing(connection):
        connection.execute("VACUUM INTO ?", (str(copy),))
    copy.chmod(0o600)


def check_database(path: Path) -> None:
    """Check every page and reference of a database that nobody writes to.

    Raises:
        BackupError: it is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        problems, broken = [str(error)], None
    if broken:
        problems.append(f"a row of {broken[0]} refers to one of {broken[2]} that is not there")
    if problems != ["ok"]:
        raise BackupError(
            f"The database is damaged: {'; '.join(problems[-3:])}.",
            next_step="Run `rune doctor --data`; restore an earlier backup.",
        )


def contents(path: Path) -> Contents:
    """Read what a backup must know; adapters by id.

    Raises:
        BackupError: it is not a database of Rune's.
    """
    columns = ["id", "file_hash", "config_hash", "file_size_bytes", "NULL"]
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            [[revision]] = connection.execute("SELECT version_num FROM alembic_version")
            if revision != "0001":  # the first revision knew no forgetting
                columns[-1] = "forgotten_at"
            query = f"SELECT {', '.join(columns)} FROM adapter_records ORDER BY id"
            adapters = [StoredAdapter(*row) for row in connection.execute(query)]
            [[trajectories]] = connection.execute("SELECT count(*) FROM trajectories")
    except (sqlite3.Error, ValueError) as error:
        raise BackupError(
            f"The database in it is not one of Rune's: {error}.", next_step="Use another backup."
        ) from error
    return Contents(revision, adapters, trajectories)
