"""First tables: adapters, sessions, trajectories, attempts, jobs.

Written as SQL because what matters here has no other spelling: STRICT tables, CHECKs, and the
triggers that make rows write-once whatever code is holding the connection.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ADAPTERS = """
CREATE TABLE adapter_records (
    id                 TEXT NOT NULL PRIMARY KEY,
    version            INTEGER NOT NULL CHECK (version >= 1),
    task_type          TEXT NOT NULL,
    base_model_id      TEXT NOT NULL,
    rank               INTEGER NOT NULL CHECK (rank >= 1),
    created_at         TEXT NOT NULL,
    file_path          TEXT NOT NULL UNIQUE,
    file_hash          TEXT NOT NULL CHECK (length(file_hash) = 64),
    file_size_bytes    INTEGER NOT NULL CHECK (file_size_bytes > 0),
    config_hash        TEXT NOT NULL CHECK (length(config_hash) = 64),
    pass_rate          REAL CHECK (pass_rate BETWEEN 0.0 AND 1.0),
    fitness_score      REAL,
    source             TEXT NOT NULL CHECK (source IN ('distillation', 'evolution', 'manual')),
    session_id         TEXT NOT NULL,
    is_archived        INTEGER NOT NULL DEFAULT 0 CHECK (is_archived IN (0, 1)),
    parent_ids         TEXT NOT NULL DEFAULT '[]',
    generation         INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0),
    training_task_hash TEXT,
    agent_id           TEXT,
    hierarchy_level    TEXT NOT NULL CHECK (hierarchy_level IN ('project', 'domain', 'task')),
    domain             TEXT NOT NULL,
    project_id         TEXT NOT NULL
) STRICT
"""

_SESSIONS = """
CREATE TABLE sessions (
    id         TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    agent_id   TEXT,
    created_at TEXT NOT NULL
) STRICT
"""

_TRAJECTORIES = """
CREATE TABLE trajectories (
    id               TEXT NOT NULL PRIMARY KEY,
    session_id       TEXT NOT NULL REFERENCES sessions (id),
    project_id       TEXT NOT NULL,
    domain           TEXT NOT NULL,
    task_type        TEXT NOT NULL,
    task_description TEXT NOT NULL,
    test_suite       TEXT NOT NULL,
    outcome          TEXT NOT NULL CHECK (outcome IN ('success', 'exhausted')),
    held_out         INTEGER NOT NULL CHECK (held_out IN (0, 1)),
    distillable      INTEGER NOT NULL CHECK (distillable IN (0, 1)),
    agent_id         TEXT,
    adapter_id       TEXT,
    source           TEXT NOT NULL CHECK (source IN ('recorded', 'agent_loop')),
    content_hash     TEXT NOT NULL UNIQUE CHECK (length(content_hash) = 64),
    created_at       TEXT NOT NULL
) STRICT
"""

_ATTEMPTS = """
CREATE TABLE attempts (
    trajectory_id  TEXT NOT NULL REFERENCES trajectories (id),
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

_JOBS = """
CREATE TABLE jobs (
    id               TEXT NOT NULL PRIMARY KEY,
    kind             TEXT NOT NULL,
    status           TEXT NOT NULL
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    progress         REAL NOT NULL CHECK (progress BETWEEN 0.0 AND 1.0),
    message          TEXT NOT NULL,
    params           TEXT NOT NULL,
    result           TEXT,
    error            TEXT,
    attempt          INTEGER NOT NULL CHECK (attempt >= 0),
    revision         INTEGER NOT NULL CHECK (revision >= 1),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    owner            TEXT,
    created_at       TEXT NOT NULL,
    started_at       TEXT,
    finished_at      TEXT
) STRICT
"""

_INDEXES = (
    # The router's and the pages' order: scope first, then newest.
    "CREATE INDEX ix_adapter_records_scope ON adapter_records"
    " (project_id, base_model_id, hierarchy_level, domain, task_type)",
    "CREATE INDEX ix_adapter_records_task_type ON adapter_records (task_type)",
    "CREATE INDEX ix_adapter_records_training_task_hash ON adapter_records (training_task_hash)",
    # The page's own order, so that no page is sorted; and the counts of every project.
    "CREATE INDEX ix_adapter_records_newest ON adapter_records (is_archived, created_at DESC, id)",
    "CREATE INDEX ix_adapter_records_counts ON adapter_records (project_id, is_archived)",
    "CREATE INDEX ix_trajectories_project ON trajectories (project_id, created_at)",
    "CREATE INDEX ix_trajectories_session_id ON trajectories (session_id)",
    "CREATE INDEX ix_trajectories_created_at ON trajectories (created_at, id)",
    "CREATE INDEX ix_jobs_status ON jobs (status, created_at)",
    "CREATE INDEX ix_jobs_created_at ON jobs (created_at, id)",
)

_ADAPTERS_FIXED = (
    "id, version, task_type, base_model_id, rank, created_at, file_path, file_hash,"
    " file_size_bytes, config_hash, source, session_id, parent_ids, generation,"
    " training_task_hash, agent_id, hierarchy_level, domain, project_id"
)

_FINISHED_JOBS = """
CREATE TRIGGER jobs_finished_is_final BEFORE UPDATE ON jobs
WHEN OLD.status IN ('succeeded', 'failed', 'cancelled')
BEGIN SELECT RAISE(ABORT, 'a finished job never changes'); END
"""


def _write_once(table: str, same_row: str, fixed: str = "") -> None:
    """Forbid DELETE, UPDATE (of the `fixed` columns, or of all), and INSERT OR REPLACE.

    REPLACE deletes without firing delete triggers, so it is caught before it inserts.
    """
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is write-once'); END"
    of = f" OF {fixed}" if fixed else ""
    op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}")
    op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE{of} ON {table} {refuse}")
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}"
        f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same_row}) {refuse}"
    )


def upgrade() -> None:
    for statement in (_ADAPTERS, _SESSIONS, _TRAJECTORIES, _ATTEMPTS, _JOBS, *_INDEXES):
        op.execute(statement)
    _write_once("adapter_records", "id = NEW.id OR file_path = NEW.file_path", _ADAPTERS_FIXED)
    _write_once("sessions", "id = NEW.id")
    _write_once("trajectories", "id = NEW.id OR content_hash = NEW.content_hash")
    _write_once("attempts", "trajectory_id = NEW.trajectory_id AND position = NEW.position")
    op.execute(_FINISHED_JOBS)
