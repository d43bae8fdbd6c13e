"""Trajectories whose outcome is unknown, and where mined ones came from.

A CHECK of SQLite's can only be changed with its table. The rows of both tables go to new ones; the
new attempts refer to the new trajectories from the start, so that at no point a row refers to
nothing. Indexes and triggers are made again as the database itself spells them.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TRAJECTORIES = """
CREATE TABLE trajectories_new (
    id               TEXT NOT NULL PRIMARY KEY,
    session_id       TEXT NOT NULL REFERENCES sessions (id),
    project_id       TEXT NOT NULL,
    domain           TEXT NOT NULL,
    task_type        TEXT NOT NULL,
    task_description TEXT NOT NULL,
    test_suite       TEXT NOT NULL,
    outcome          TEXT NOT NULL CHECK (outcome IN ('success', 'exhausted', 'unknown')),
    held_out         INTEGER NOT NULL CHECK (held_out IN (0, 1)),
    distillable      INTEGER NOT NULL CHECK (distillable IN (0, 1)),
    agent_id         TEXT,
    adapter_id       TEXT,
    source           TEXT NOT NULL CHECK (source IN ('recorded', 'agent_loop', 'mined')),
    content_hash     TEXT NOT NULL UNIQUE CHECK (length(content_hash) = 64),
    created_at       TEXT NOT NULL,
    provenance       TEXT,
    CHECK (outcome <> 'unknown' OR distillable = 0)
) STRICT
"""

_ATTEMPTS = """
CREATE TABLE attempts_new (
    trajectory_id  TEXT NOT NULL REFERENCES trajectories_new (id),
    position       INTEGER NOT NULL CHECK (position >= 0),
    generated_code TEXT NOT NULL,
    stdout         TEXT NOT NULL,
    stderr         TEXT NOT NULL,
    exit_code      INTEGER,
    tests_passed   INTEGER CHECK (tests_passed IN (0, 1)),
    verdict        TEXT,
    PRIMARY KEY (trajectory_id, position)
) STRICT
"""

_TRAJECTORY_COLUMNS = (
    "id, session_id, project_id, domain, task_type, task_description, test_suite, outcome,"
    " held_out, distillable, agent_id, adapter_id, source, content_hash, created_at"
)
_ATTEMPT_COLUMNS = (
    "trajectory_id, position, generated_code, stdout, stderr, exit_code, tests_passed, verdict"
)
_BELONGING = (
    "SELECT sql FROM sqlite_master WHERE tbl_name IN ('trajectories', 'attempts')"
    " AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY rowid"
)
_MOVE = (
    _TRAJECTORIES,
    f"INSERT INTO trajectories_new ({_TRAJECTORY_COLUMNS})"
    f" SELECT {_TRAJECTORY_COLUMNS} FROM trajectories",
    _ATTEMPTS,
    f"INSERT INTO attempts_new ({_ATTEMPT_COLUMNS}) SELECT {_ATTEMPT_COLUMNS} FROM attempts",
    "DROP TABLE attempts",
    "DROP TABLE trajectories",
    "ALTER TABLE trajectories_new RENAME TO trajectories",
    "ALTER TABLE attempts_new RENAME TO attempts",
)
_COUNTS = (
    "DROP INDEX ix_trajectories_counts",
    "CREATE INDEX ix_trajectories_counts ON trajectories"
    " (project_id, distillable, held_out, outcome)",
)


def upgrade() -> None:
    connection = op.get_bind()
    belonging = connection.exec_driver_sql(_BELONGING).scalars().all()
    for statement in (*_MOVE, *belonging, *_COUNTS):
        connection.exec_driver_sql(statement)
