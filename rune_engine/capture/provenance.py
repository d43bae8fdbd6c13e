"""The tables that say where captured trajectories came from, and which files have been read.

Every SQL statement about them. Knows no format and no file.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from rune_engine.database import Database, utc_now
from rune_engine.models import CapturedBy, Provenance

_KNOWN = (
    "SELECT trajectory_id FROM captured_tasks WHERE session_id = ? AND task = ? AND fingerprint = ?"
)
_ERASED = "SELECT 1 FROM erasures WHERE session_id = ? LIMIT 1"
_ADD_SESSION = (
    "INSERT INTO captured_sessions"
    " (session_id, source, path, agent, agent_session, captured_by, captured_at)"
    " SELECT ?, ?, ?, ?, ?, ?, ?"
    " WHERE NOT EXISTS (SELECT 1 FROM captured_sessions WHERE session_id = ?)"
)
_ADD_TASK = (
    "INSERT INTO captured_tasks (session_id, task, fingerprint, trajectory_id, captured_at)"
    " SELECT ?, ?, ?, ?, ? WHERE NOT EXISTS"
    " (SELECT 1 FROM captured_tasks WHERE session_id = ? AND task = ? AND fingerprint = ?)"
)
_FIELDS = (
    "task.trajectory_id, task.session_id, session.source, session.path, session.agent,"
    " session.agent_session, task.task, session.captured_by, task.captured_at"
)
_FROM = "captured_tasks AS task JOIN captured_sessions AS session USING (session_id)"
_OF = (
    f"SELECT {_FIELDS} FROM {_FROM} WHERE task.trajectory_id = ? ORDER BY task.captured_at LIMIT 1"
)
_NEWEST = f"SELECT {_FIELDS} FROM {_FROM} ORDER BY task.captured_at DESC LIMIT ?"
_COUNTS = (
    "SELECT source, count(DISTINCT session.session_id), count(DISTINCT task.trajectory_id)"
    " FROM captured_sessions AS session LEFT JOIN captured_tasks AS task USING (session_id)"
    " GROUP BY source"
)
_CURSOR = "SELECT size, mtime_ns FROM captured_files WHERE path = ?"
_SET_CURSOR = (
    "INSERT INTO captured_files (path, source, size, mtime_ns, read_at)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET source = excluded.source,"
    " size = excluded.size, mtime_ns = excluded.mtime_ns, read_at = excluded.read_at"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """A session, and where it was read."""

    session_id: str
    source: str
    path: str
    agent: str
    agent_session: str
    captured_by: CapturedBy


@dataclass(frozen=True, slots=True)
class Cursor:
    """How a file was when all it told had been taken."""

    size: int
    mtime_ns: int


class ProvenanceStore:
    """Where the trajectories of one home came from."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, session_id: str, task: int, fingerprint: str) -> str | None:
        """The trajectory that this very task became, if it did."""
        rows = self._database.query(_KNOWN, [session_id, task, fingerprint])
        return str(rows[0][0]) if rows else None

    def is_erased(self, session_id: str) -> bool:
        """Whether something of a session was forgotten: then nothing of it is captured again."""
        return bool(self._database.query(_ERASED, [session_id]))

    def of(self, trajectory_id: str) -> Provenance | None:
        """Where a trajectory came from; None for one that was not captured."""
        rows = self._database.query(_OF, [trajectory_id])
        return _provenance(rows[0]) if rows else None

    def newest(self, limit: int) -> list[Provenance]:
        return [_provenance(row) for row in self._database.query(_NEWEST, [limit])]

    def counts(self) -> dict[str, tuple[int, int]]:
        """By source: how many sessions and how many trajectories were captured."""
        return {row[0]: (row[1], row[2]) for row in self._database.query(_COUNTS)}

    def cursor(self, path: str) -> Cursor | None:
        """How a file was when all it told had been taken; None if it never was."""
        rows = self._database.query(_CURSOR, [path])
        return Cursor(*rows[0]) if rows else None

    def set_cursor(self, path: str, source: str, cursor: Cursor) -> None:
        with self._database.changing() as connection:
            row = (path, source, cursor.size, cursor.mtime_ns, utc_now())
            connection.execute(_SET_CURSOR, row)


def add(
    connection: sqlite3.Connection, origin: Origin, task: int, fingerprint: str, trajectory_id: str
) -> None:
    """Say in a transaction where a trajectory came from; what is there already stays."""
    now = utc_now()
    session = (origin.session_id, origin.source, origin.path, origin.agent, origin.agent_session)
    connection.execute(_ADD_SESSION, (*session, origin.captured_by, now, origin.session_id))
    same = (origin.session_id, task, fingerprint)
    connection.execute(_ADD_TASK, (*same, trajectory_id, now, *same))


def _provenance(row: tuple[object, ...]) -> Provenance:
    names = ("trajectory_id", "session_id", "source", "path", "agent", "agent_session", "task",
             "captured_by", "captured_at")  # fmt: skip
    return Provenance.model_validate(dict(zip(names, row, strict=True)))
