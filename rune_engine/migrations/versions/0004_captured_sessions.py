"""Where captured trajectories came from, and which session files have been read.

What says where a trajectory came from is written once and goes only with it, by an erasure; what
has been read of a file is a cursor, and moves.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = (
    """
CREATE TABLE captured_sessions (
    session_id    TEXT NOT NULL PRIMARY KEY,
    source        TEXT NOT NULL,
    path          TEXT NOT NULL,
    agent         TEXT NOT NULL,
    agent_session TEXT NOT NULL,
    captured_by   TEXT NOT NULL CHECK (captured_by IN ('import', 'follower')),
    captured_at   TEXT NOT NULL
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE captured_tasks (
    session_id    TEXT NOT NULL,
    task          INTEGER NOT NULL CHECK (task >= 0),
    fingerprint   TEXT NOT NULL CHECK (length(fingerprint) = 64),
    trajectory_id TEXT NOT NULL REFERENCES trajectories (id),
    captured_at   TEXT NOT NULL,
    PRIMARY KEY (session_id, task, fingerprint)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE captured_files (
    path     TEXT NOT NULL PRIMARY KEY,
    source   TEXT NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    read_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID
""",
)
_INDEXES = (
    "CREATE INDEX ix_captured_sessions_newest ON captured_sessions (captured_at DESC, session_id)",
    "CREATE INDEX ix_captured_tasks_trajectory ON captured_tasks (trajectory_id)",
)
_ERASABLE = {
    "captured_sessions": (
        "session_id = NEW.session_id",
        "session_id = OLD.session_id",
    ),
    "captured_tasks": (
        "session_id = NEW.session_id AND task = NEW.task AND fingerprint = NEW.fingerprint",
        "trajectory_id = OLD.trajectory_id",
    ),
}
"""By table: what makes two rows the same, and which erasures let a row go."""


def upgrade() -> None:
    for statement in (*_TABLES, *_INDEXES):
        op.execute(statement)
    for table, (same_row, erased) in _ERASABLE.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is write-once'); END"
        op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}")
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}"
            f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same_row}) {refuse}"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}"
            f" WHEN NOT EXISTS (SELECT 1 FROM erasures WHERE {erased}) {refuse}"
        )
