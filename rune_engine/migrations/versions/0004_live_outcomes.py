"""An index by which the guard finds a project's live outcomes, without reading its sessions."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_trajectories_live ON trajectories (project_id, adapter_id)"
        " WHERE source = 'agent_loop'"
    )
