"""Whether a project may be recorded: the newest word of its user, kept as lifecycle events.

A project that was never spoken of is recorded.
"""

from __future__ import annotations

import sqlite3

from rune_engine import events
from rune_engine.database import Database, driver
from rune_engine.errors import ProjectOptedOutError
from rune_engine.trajectories import queries


def is_recorded(connection: sqlite3.Connection, project_id: str) -> bool:
    """Whether trajectories of a project may be stored and learnt from."""
    newest = connection.execute(queries.CONSENT, [project_id]).fetchone()
    return bool(newest[0] != "project_opted_out")


def require_recorded(connection: sqlite3.Connection, project_id: str) -> None:
    """Refuse a project that is not recorded.

    Raises:
        ProjectOptedOutError: its user turned recording off.
    """
    require_consent(connection.execute(queries.CONSENT, [project_id]).fetchone()[0], project_id)


def require_consent(newest_kind: str | None, project_id: str) -> None:
    """The same, where the kind of the newest word is known already."""
    if newest_kind == "project_opted_out":
        raise ProjectOptedOutError(
            f"Recording is turned off for the project {project_id}; nothing was stored.",
            next_step="`rune project on` turns it on again.",
        )


class Consent:
    """The projects' own switches of one home. Safe to share between threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_recorded(self, project_id: str) -> bool:
        """Whether trajectories of a project may be stored and learnt from."""
        with self._database.snapshot() as connection:
            return is_recorded(connection, project_id)

    def require(self, project_id: str) -> None:
        """Refuse a project that is not recorded.

        Raises:
            ProjectOptedOutError: its user turned recording off.
        """
        with self._database.snapshot() as connection:
            require_recorded(connection, project_id)

    def set(self, project_id: str, *, recorded: bool) -> None:
        """Turn recording of a project on or off; what it was already is not written again."""
        with self._database.writing() as session:
            if is_recorded(driver(session), project_id) == recorded:
                return
            kind = "project_opted_in" if recorded else "project_opted_out"
            events.append(session, kind, project_id, project_id=project_id)  # type: ignore[arg-type]
