"""Evaluations: what was measured of an adapter, one row each; and what the base model alone did.

`base_outcomes` is a cache: its rows follow from their key, and may be deleted at any time.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_EVALUATIONS = """
CREATE TABLE evaluations (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    adapter_id    TEXT NOT NULL,
    kind          TEXT NOT NULL CHECK (kind IN ('held_out', 'folds', 'named', 'suite', 'pbb')),
    base_model_id TEXT NOT NULL,
    project_id    TEXT,
    caused_by     TEXT NOT NULL,
    created_at    TEXT NOT NULL,
    evaluated     INTEGER NOT NULL CHECK (evaluated IN (0, 1)),
    fitness       REAL,
    result        TEXT NOT NULL
) STRICT
"""

_BASE_OUTCOMES = """
CREATE TABLE base_outcomes (
    key        TEXT NOT NULL PRIMARY KEY CHECK (length(key) = 64),
    verdicts   TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID
"""

_REFUSE = "BEGIN SELECT RAISE(ABORT, 'evaluations is write-once'); END"


def upgrade() -> None:
    op.execute(_EVALUATIONS)
    op.execute(_BASE_OUTCOMES)
    op.execute("CREATE INDEX ix_evaluations_adapter ON evaluations (adapter_id, kind, seq)")
    op.execute("CREATE INDEX ix_evaluations_project ON evaluations (project_id, seq)")
    for when in ("DELETE", "UPDATE"):
        name = f"evaluations_no_{when.lower()}"
        op.execute(f"CREATE TRIGGER {name} BEFORE {when} ON evaluations {_REFUSE}")
    op.execute(
        "CREATE TRIGGER evaluations_no_replace BEFORE INSERT ON evaluations"
        " WHEN EXISTS (SELECT 1 FROM evaluations WHERE seq = NEW.seq OR id = NEW.id)"
        f" {_REFUSE}"
    )
