"""What was forgotten stays forgotten, whatever backup is restored after.

The erasures of the home's own database are applied to the one that is about to replace it.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from rune_engine.database import Database
from rune_engine.registry import lifecycle

_COLUMNS = "trajectory_id, session_id, content_hash, at"
_RETURNING = "SELECT id FROM trajectories WHERE id IN (SELECT value FROM json_each(:ids))"
_JOBS = (
    "SELECT id FROM jobs WHERE created_at <= (SELECT max(at) FROM erasures) AND project_id IN"
    " (SELECT project_id FROM trajectories WHERE id IN (SELECT value FROM json_each(:ids)))"
)
_DELETES = (
    f"DELETE FROM job_steps WHERE job_id IN ({_JOBS})",
    f"DELETE FROM jobs WHERE id IN ({_JOBS})",
    "DELETE FROM captured_tasks WHERE trajectory_id IN (SELECT value FROM json_each(:ids))",
    "DELETE FROM captured_sessions WHERE session_id IN (SELECT session_id FROM erasures)"
    " AND NOT EXISTS (SELECT 1 FROM captured_tasks AS kept"
    " WHERE kept.session_id = captured_sessions.session_id)",
    "DELETE FROM attempts WHERE trajectory_id IN (SELECT value FROM json_each(:ids))",
    "DELETE FROM trajectories WHERE id IN (SELECT value FROM json_each(:ids))",
    "DELETE FROM sessions WHERE id IN (SELECT session_id FROM erasures)"
    " AND NOT EXISTS (SELECT 1 FROM trajectories WHERE session_id = sessions.id)",
)


def forget_again(current: Path, restored: Database) -> int:
    """Erase from `restored` what `current` says was forgotten; how many trajectories that were."""
    erasures = _erasures(current)
    ids = {"ids": json.dumps([row[0] for row in erasures])}
    with restored.writing() as session:
        connection = session.connection()
        returning = list(connection.execute(text(_RETURNING), ids).scalars())
        lifecycle.mark_forgotten(
            session, lifecycle.dependents(session, returning), caused_by="user"
        )
        for row in erasures:
            connection.exec_driver_sql(
                f"INSERT INTO erasures ({_COLUMNS}) SELECT ?, ?, ?, ? WHERE NOT EXISTS"
                " (SELECT 1 FROM erasures WHERE trajectory_id = ? OR content_hash = ?)",
                (*row, row[0], row[2]),
            )
        for statement in _DELETES if returning else ():
            connection.execute(text(statement), ids)
    if returning:
        restored.compact()
    return len(returning)


def _erasures(path: Path) -> list[tuple[str, str, str, str]]:
    """None where there is no database, or one that cannot be read or is older than forgetting."""
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(f"SELECT {_COLUMNS} FROM erasures").fetchall()
    except sqlite3.DatabaseError:
        return []
