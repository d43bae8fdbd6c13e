"""S2, the trajectory store: the only way a trajectory gets in, and every way to find some.

A trajectory is stored whole, in one transaction, and never changes; the same one twice is stored
once. Knows nothing of adapters or of how trajectories become one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from rune_engine.database import Database, utc_now
from rune_engine.errors import TrajectoryForgottenError, TrajectoryNotFoundError
from rune_engine.models import Trajectory, TrajectoryDraft
from rune_engine.trajectories.checks import check_draft, content_hash
from rune_engine.trajectories.records import (
    AttemptRecord,
    ErasureRecord,
    SessionRecord,
    TrajectoryRecord,
)

MAX_PAGE = 100
_NEWEST = (col(TrajectoryRecord.created_at).desc(), col(TrajectoryRecord.id))
_OLDEST = (col(TrajectoryRecord.created_at), col(TrajectoryRecord.id))


@dataclass(frozen=True, slots=True)
class TrajectoryPage:
    """Some trajectories, newest first; `next_offset` is None at the end."""

    trajectories: list[Trajectory]
    total: int
    offset: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class ProjectCounts:
    """How many trajectories a project has."""

    project_id: str
    trajectories: int
    distillable: int
    held_out: int


class TrajectoryStore:
    """The trajectories of one home. Safe to share between threads and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, draft: TrajectoryDraft) -> tuple[Trajectory, bool]:
        """Store a trajectory; the second value tells that it was there already.

        Raises:
            InvalidTrajectoryError: it contradicts itself, or holds text that is not UTF-8.
            TrajectoryForgottenError: it was forgotten, and stays so.
            DiskFullError, HomeNotWritableError, StorageError: nothing was stored.
        """
        check_draft(draft)
        digest = content_hash(draft)
        same = select(TrajectoryRecord).where(TrajectoryRecord.content_hash == digest)
        with self._database.writing() as session:
            stored = session.exec(same).first()
            if stored is None:
                _refuse_forgotten(session, digest)
            record = stored or _insert(session, draft, digest)
            return _whole(session, [record])[0], stored is not None

    def get(self, trajectory_id: str) -> Trajectory:
        """One trajectory with its attempts.

        Raises:
            TrajectoryNotFoundError: there is none of that id.
        """
        with self._database.reading() as session:
            record = session.get(TrajectoryRecord, trajectory_id)
            if record is None:
                raise _not_found(trajectory_id)
            return _whole(session, [record])[0]

    def page(
        self,
        *,
        project_id: str | None = None,
        session_id: str | None = None,
        offset: int = 0,
        limit: int = 20,
    ) -> TrajectoryPage:
        """A page of trajectories, newest first; at most `MAX_PAGE` of them."""
        offset, limit = max(offset, 0), min(max(limit, 1), MAX_PAGE)
        conditions = _equal(project_id=project_id, session_id=session_id)
        query = select(TrajectoryRecord).where(*conditions).order_by(*_NEWEST)
        with self._database.reading() as session:
            total = session.exec(
                select(func.count()).select_from(TrajectoryRecord).where(*conditions)
            ).one()
            found = _whole(session, session.exec(query.offset(offset).limit(limit)).all())
        end = offset + len(found)
        return TrajectoryPage(found, total, offset, end if found and end < total else None)

    def distillable(
        self,
        project_id: str,
        domain: str | None = None,
        task_type: str | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[Trajectory]:
        """What a distillation would learn from, oldest first: passed, and not held out.

        Args:
            ids: only these; those among them that teach nothing are left out.

        Raises:
            TrajectoryNotFoundError: an id is not one of this project's trajectories.
        """
        conditions = _equal(project_id=project_id, domain=domain, task_type=task_type)
        query = select(TrajectoryRecord).where(*conditions, col(TrajectoryRecord.distillable))
        with self._database.reading() as session:
            if ids is not None:
                _check_known(session, project_id, ids)
                query = query.where(_in_ids(TrajectoryRecord.id, ids))
            return _whole(session, session.exec(query.order_by(*_OLDEST)).all())

    def count_distillable(self, project_id: str) -> int:
        """How many trajectories of a project a distillation would learn from."""
        query = select(func.count()).where(
            TrajectoryRecord.project_id == project_id, col(TrajectoryRecord.distillable)
        )
        with self._database.reading() as session:
            return session.exec(query).one()

    def counts(self) -> list[ProjectCounts]:
        """How many trajectories each project has, by project."""
        query = (
            select(
                TrajectoryRecord.project_id,
                func.count(),
                func.sum(TrajectoryRecord.distillable),
                func.sum(TrajectoryRecord.held_out),
            )
            .group_by(col(TrajectoryRecord.project_id))
            .order_by(col(TrajectoryRecord.project_id))
        )
        with self._database.reading() as session:
            return [ProjectCounts(*row) for row in session.exec(query).all()]


def _refuse_forgotten(session: Session, digest: str) -> None:
    """What followed a session file once would bring back what the user had erased."""
    query = select(ErasureRecord.at).where(ErasureRecord.content_hash == digest)
    erased_at = session.exec(query).first()
    if erased_at is not None:
        raise TrajectoryForgottenError(
            f"This trajectory was forgotten at {erased_at} and is not stored again.",
            next_step="If it is to be remembered after all, record it with another description.",
        )


def _insert(session: Session, draft: TrajectoryDraft, digest: str) -> TrajectoryRecord:
    now = utc_now()
    session_id = draft.session_id or str(uuid.uuid4())
    if session.get(SessionRecord, session_id) is None:
        session.add(
            SessionRecord(
                id=session_id,
                project_id=draft.project_id,
                agent_id=draft.agent_id,
                created_at=now,
            )
        )
        session.flush()
    record = TrajectoryRecord.from_draft(
        draft, id=str(uuid.uuid4()), session_id=session_id, content_hash=digest, now=now
    )
    session.add(record)
    session.flush()
    session.add_all(
        AttemptRecord.from_attempt(record.id, position, attempt)
        for position, attempt in enumerate(draft.attempts)
    )
    session.flush()
    return record


def _whole(session: Session, records: Sequence[TrajectoryRecord]) -> list[Trajectory]:
    """The trajectories with their attempts, in the order given."""
    query = (
        select(AttemptRecord)
        .where(_in_ids(AttemptRecord.trajectory_id, [record.id for record in records]))
        .order_by(col(AttemptRecord.trajectory_id), col(AttemptRecord.position))
    )
    rows = session.exec(query).all()
    attempts = {key: list(group) for key, group in groupby(rows, lambda row: row.trajectory_id)}
    return [record.to_trajectory(attempts[record.id]) for record in records]


def _check_known(session: Session, project_id: str, ids: Sequence[str]) -> None:
    query = select(TrajectoryRecord.id).where(
        TrajectoryRecord.project_id == project_id, _in_ids(TrajectoryRecord.id, ids)
    )
    unknown = set(ids) - set(session.exec(query).all())
    if unknown:
        raise _not_found(sorted(unknown)[0], f" in project {project_id}")


def _in_ids(column: str, ids: Sequence[str]) -> ColumnElement[bool]:
    """Any number of ids as one parameter; SQLite bounds the number of parameters."""
    values = func.json_each(json.dumps(list(ids))).table_valued("value")
    return col(column).in_(select(values.c.value))


def _equal(**wanted: str | None) -> list[ColumnElement[bool]]:
    return [
        getattr(TrajectoryRecord, name) == value
        for name, value in wanted.items()
        if value is not None
    ]


def _not_found(trajectory_id: str, where: str = "") -> TrajectoryNotFoundError:
    return TrajectoryNotFoundError(
        f"There is no trajectory {trajectory_id}{where}.",
        next_step="Use the id that recording it answered.",
    )
