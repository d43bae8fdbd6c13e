"""The tables of what happened and of what was forgotten, and which trajectories teach."""

from __future__ import annotations

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from rune_engine.models import TrajectoryDraft
from rune_engine.suspicion import teaches


class SessionRecord(SQLModel, table=True):
    """A stretch of work that trajectories belong to."""

    __tablename__ = "sessions"

    id: str = Field(primary_key=True, sa_type=Text)
    project_id: str = Field(sa_type=Text)
    agent_id: str | None = Field(default=None, sa_type=Text)
    created_at: str = Field(sa_type=Text)


class TrajectoryRecord(SQLModel, table=True):
    """One row a trajectory. `distillable` is decided once: nothing it depends on changes."""

    __tablename__ = "trajectories"

    id: str = Field(primary_key=True, sa_type=Text)
    session_id: str = Field(sa_type=Text, foreign_key="sessions.id")
    project_id: str = Field(sa_type=Text)
    domain: str = Field(sa_type=Text)
    task_type: str = Field(sa_type=Text)
    task_description: str = Field(sa_type=Text)
    test_suite: str = Field(sa_type=Text)
    outcome: str = Field(sa_type=Text)
    held_out: bool
    distillable: bool
    agent_id: str | None = Field(default=None, sa_type=Text)
    adapter_id: str | None = Field(default=None, sa_type=Text)
    source: str = Field(sa_type=Text)
    content_hash: str = Field(sa_type=Text)
    created_at: str = Field(sa_type=Text)
    provenance: str | None = Field(default=None, sa_type=Text, description="JSON.")


class AttemptRecord(SQLModel, table=True):
    """One row an attempt, in the order in which they were made."""

    __tablename__ = "attempts"

    trajectory_id: str = Field(primary_key=True, sa_type=Text, foreign_key="trajectories.id")
    position: int = Field(primary_key=True)
    generated_code: str = Field(sa_type=Text)
    stdout: str = Field(sa_type=Text)
    stderr: str = Field(sa_type=Text)
    exit_code: int | None = None
    tests_passed: bool | None = None
    verdict: str | None = Field(default=None, sa_type=Text, description="JSON.")


class ErasureRecord(SQLModel, table=True):
    """That a trajectory was forgotten: no text, only what recognises it."""

    __tablename__ = "erasures"

    trajectory_id: str = Field(primary_key=True, sa_type=Text)
    session_id: str = Field(sa_type=Text)
    content_hash: str = Field(sa_type=Text)
    at: str = Field(sa_type=Text)


def is_distillable(draft: TrajectoryDraft) -> bool:
    """Whether it teaches something that is known to work, is not kept back for evaluation, and
    neither looks like code that fakes its tests nor could have done so unseen."""
    return not draft.held_out and teaches(draft)
