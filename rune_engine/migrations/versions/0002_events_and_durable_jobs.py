"""Lifecycle events, what an adapter learnt from, erasures, and jobs that retry and resume.

A trajectory may now be deleted, but only by an erasure that names it: the triggers of 0001 that
forbid it give way to ones that look for that row. Everything else stays write-once.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_EVENTS = """
CREATE TABLE lifecycle_events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         TEXT NOT NULL,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    project_id TEXT,
    caused_by  TEXT NOT NULL,
    payload    TEXT NOT NULL
) STRICT
"""

_ADAPTER_TRAJECTORIES = """
CREATE TABLE adapter_trajectories (
    adapter_id    TEXT NOT NULL,
    trajectory_id TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('trained', 'kept_back')),
    PRIMARY KEY (adapter_id, trajectory_id)
) STRICT, WITHOUT ROWID
"""

_ERASURES = """
CREATE TABLE erasures (
    trajectory_id TEXT NOT NULL PRIMARY KEY,
    session_id    TEXT NOT NULL,
    content_hash  TEXT NOT NULL UNIQUE CHECK (length(content_hash) = 64),
    at            TEXT NOT NULL
) STRICT
"""

_JOB_STEPS = """
CREATE TABLE job_steps (
    job_id     TEXT NOT NULL,
    name       TEXT NOT NULL,
    output     TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT, WITHOUT ROWID
"""

_COLUMNS = (
    "ALTER TABLE adapter_records ADD COLUMN forgotten_at TEXT",
    "ALTER TABLE jobs ADD COLUMN project_id TEXT",
    "ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE jobs ADD COLUMN run_at TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE jobs ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 3",
    "ALTER TABLE jobs ADD COLUMN idempotency_key TEXT",
    "ALTER TABLE jobs ADD COLUMN lease_until TEXT",
)

_OLD_INDEXES = (
    "ix_adapter_records_scope",
    "ix_adapter_records_task_type",
    "ix_adapter_records_training_task_hash",
    "ix_adapter_records_newest",
    "ix_adapter_records_counts",
    "ix_trajectories_project",
    "ix_trajectories_session_id",
)
"""Ones whose queries the new ones answer without sorting."""

_BEST = {
    "task_type": "task_type",
    "task_type_model": "task_type, base_model_id",
    "project_task_type": "project_id, task_type",
    "project_task_type_model": "project_id, task_type, base_model_id",
    "training_task_hash": "training_task_hash",
}
_ROUTES = {
    "task": "project_id, base_model_id, domain, task_type",
    "domain": "project_id, base_model_id, domain",
    "project": "project_id, base_model_id",
}
_FITTEST = "fitness_score DESC, created_at DESC, id"
_NEWEST = "created_at DESC, id, is_archived"

_STORE_INDEXES = (
    # The best adapter of those in use is the first entry of one of these.
    *(
        f"CREATE INDEX ix_adapter_records_best_{name} ON adapter_records ({columns}, {_FITTEST})"
        " WHERE is_archived = 0"
        for name, columns in _BEST.items()
    ),
    *(
        f"CREATE INDEX ix_adapter_records_route_{level} ON adapter_records ({columns}, {_FITTEST})"
        f" WHERE is_archived = 0 AND hierarchy_level = '{level}'"
        for level, columns in _ROUTES.items()
    ),
    # A page is a stretch of one of these.
    f"CREATE INDEX ix_adapter_records_page ON adapter_records ({_NEWEST})",
    *(
        f"CREATE INDEX ix_adapter_records_page_{column} ON adapter_records ({column}, {_NEWEST})"
        for column in ("project_id", "domain", "task_type", "base_model_id")
    ),
    "CREATE INDEX ix_adapter_records_counts ON adapter_records"
    " (project_id, is_archived, base_model_id)",
    "CREATE INDEX ix_adapter_records_versions ON adapter_records"
    " (project_id, base_model_id, hierarchy_level)",
    "CREATE INDEX ix_adapter_records_parents ON adapter_records (id, parent_ids)"
    " WHERE parent_ids <> '[]'",
    "CREATE INDEX ix_trajectories_page_project ON trajectories (project_id, created_at, id)",
    "CREATE INDEX ix_trajectories_page_session ON trajectories (session_id, created_at, id)",
    "CREATE INDEX ix_trajectories_counts ON trajectories (project_id, distillable, held_out)",
    "CREATE INDEX ix_trajectories_distillable ON trajectories"
    " (project_id, created_at, id, domain, task_type) WHERE distillable = 1",
)

_INDEXES = (
    "CREATE INDEX ix_lifecycle_events_subject ON lifecycle_events (subject, kind, seq)",
    "CREATE INDEX ix_lifecycle_events_project ON lifecycle_events (project_id, seq)",
    "CREATE INDEX ix_adapter_trajectories_trajectory ON adapter_trajectories (trajectory_id)",
    "CREATE UNIQUE INDEX ix_jobs_idempotency_key ON jobs (idempotency_key)"
    " WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX ix_jobs_project ON jobs (project_id, created_at)",
    "CREATE INDEX ix_jobs_claim ON jobs (priority DESC, run_at, created_at, id)"
    " WHERE status = 'queued'",
)

_PAST = (
    """
INSERT INTO lifecycle_events (at, kind, subject, project_id, caused_by, payload)
SELECT created_at, 'adapter_stored', id, project_id, 'migration', json_object(
    'version', version, 'generation', generation, 'source', source,
    'base_model_id', base_model_id, 'hierarchy_level', hierarchy_level, 'domain', domain,
    'task_type', task_type, 'rank', rank, 'file_hash', file_hash,
    'file_size_bytes', file_size_bytes, 'parent_ids', json(parent_ids))
FROM adapter_records ORDER BY created_at, id
""",
    """
INSERT INTO lifecycle_events (at, kind, subject, project_id, caused_by, payload)
SELECT strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'), 'fitness_measured', id, project_id,
    'migration', json_object('pass_rate', pass_rate, 'fitness_score', fitness_score)
FROM adapter_records WHERE pass_rate IS NOT NULL OR fitness_score IS NOT NULL
""",
    """
INSERT INTO lifecycle_events (at, kind, subject, project_id, caused_by, payload)
SELECT strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'), 'adapter_archived', id, project_id,
    'migration', json_object('reason', 'archived before events were kept')
FROM adapter_records WHERE is_archived = 1
""",
)
"""The events that led to the adapters there are, as far as their rows tell."""

_ERASABLE = {
    "trajectories": "trajectory_id = OLD.id",
    "attempts": "trajectory_id = OLD.trajectory_id",
    "sessions": "session_id = OLD.id",
}
"""Tables whose rows an erasure may delete, and which erasures stand for a row."""

_FORGOTTEN_FOR_GOOD = """
CREATE TRIGGER adapter_records_forgotten_for_good
BEFORE UPDATE OF forgotten_at, is_archived ON adapter_records
WHEN OLD.forgotten_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a forgotten adapter stays forgotten'); END
"""


def _refuse(table: str) -> str:
    return f"BEGIN SELECT RAISE(ABORT, '{table} is write-once'); END"


def _append_only(table: str, same_row: str) -> None:
    """Forbid DELETE, UPDATE and INSERT OR REPLACE."""
    op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {_refuse(table)}")
    op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {_refuse(table)}")
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}"
        f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {same_row}) {_refuse(table)}"
    )


def upgrade() -> None:
    for name in _OLD_INDEXES:
        op.execute(f"DROP INDEX {name}")
    for statement in (_EVENTS, _ADAPTER_TRAJECTORIES, _ERASURES, _JOB_STEPS, *_COLUMNS):
        op.execute(statement)
    for statement in (*_INDEXES, *_STORE_INDEXES):
        op.execute(statement)
    for statement in _PAST:
        op.get_bind().exec_driver_sql(statement)
    _append_only("lifecycle_events", "seq = NEW.seq")
    _append_only(
        "adapter_trajectories", "adapter_id = NEW.adapter_id AND trajectory_id = NEW.trajectory_id"
    )
    _append_only("erasures", "trajectory_id = NEW.trajectory_id")
    for table, erased in _ERASABLE.items():
        op.execute(f"DROP TRIGGER {table}_no_delete")
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}"
            f" WHEN NOT EXISTS (SELECT 1 FROM erasures WHERE {erased}) {_refuse(table)}"
        )
    op.execute(_FORGOTTEN_FOR_GOOD)
