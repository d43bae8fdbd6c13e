"""The folder that a trajectory's code imports from, so that its task can be put again."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE trajectories ADD COLUMN workspace TEXT")
    op.execute(
        "CREATE INDEX trajectories_by_workspace ON trajectories (project_id, created_at, id)"
        " WHERE workspace IS NOT NULL"
    )
