"""Lifecycle events (S19): what was decided about adapters, projects and the store, and why.

Append-only, in the same transaction as the change they tell of; the numbers behind a decision are
in its payload, a trajectory's text never is. Knows no other table.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Text
from sqlmodel import Field, Session, SQLModel, col, select

from rune_engine.database import Database, utc_now
from rune_engine.models import EventKind, LifecycleEvent

MAX_PAGE = 500


class EventRecord(SQLModel, table=True):
    """One row an event; `seq` is their order, whatever the clock did."""

    __tablename__ = "lifecycle_events"

    seq: int | None = Field(default=None, primary_key=True)
    at: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    project_id: str | None = Field(default=None, sa_type=Text)
    caused_by: str = Field(sa_type=Text)
    payload: str = Field(sa_type=Text, description="JSON.")

    def to_event(self) -> LifecycleEvent:
        return LifecycleEvent.model_validate(
            {**self.model_dump(), "payload": json.loads(self.payload)}
        )


def append(
    session: Session,
    kind: EventKind,
    subject: str,
    *,
    project_id: str | None = None,
    caused_by: str = "user",
    **payload: Any,
) -> int:
    """Add an event to a write transaction; its `seq`.

    Args:
        subject: id of what it is about: an adapter, a project, a session, a job.
        caused_by: "user", "schedule", or the id of the job that decided it.
        payload: JSON-ready facts, such as the numbers behind a decision.
    """
    record = EventRecord(
        at=utc_now(),
        kind=kind,
        subject=subject,
        project_id=project_id,
        caused_by=caused_by,
        payload=json.dumps(payload, sort_keys=True),
    )
    session.add(record)
    session.flush()
    assert record.seq is not None
    return record.seq


def newest(session: Session, subject: str, *kinds: EventKind) -> LifecycleEvent | None:
    """The last event of these kinds about `subject`."""
    query = (
        select(EventRecord)
        .where(EventRecord.subject == subject, col(EventRecord.kind).in_(kinds))
        .order_by(col(EventRecord.seq).desc())
    )
    record = session.exec(query.limit(1)).first()
    return None if record is None else record.to_event()


class EventLog:
    """The events of one home. Safe to share between threads and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        kind: EventKind,
        subject: str,
        *,
        project_id: str | None = None,
        caused_by: str = "user",
        **payload: Any,
    ) -> None:
        """Add one event in a transaction of its own; see `append`."""
        with self._database.writing() as session:
            append(session, kind, subject, project_id=project_id, caused_by=caused_by, **payload)

    def newest(self, subject: str, *kinds: EventKind) -> LifecycleEvent | None:
        """The last event of these kinds about `subject`."""
        with self._database.reading() as session:
            return newest(session, subject, *kinds)

    def history(
        self,
        *,
        project_id: str | None = None,
        subject: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[LifecycleEvent]:
        """Events, newest first, at most `MAX_PAGE`; `before` is a `seq` to continue from."""
        query = select(EventRecord).order_by(col(EventRecord.seq).desc())
        if project_id is not None:
            query = query.where(EventRecord.project_id == project_id)
        if subject is not None:
            query = query.where(EventRecord.subject == subject)
        if before is not None:
            query = query.where(col(EventRecord.seq) < before)
        with self._database.reading() as session:
            found = session.exec(query.limit(min(max(limit, 1), MAX_PAGE)))
            return [record.to_event() for record in found]
