"""S2, the trajectory store: the only way a trajectory gets in, and every way to find some.

A trajectory is stored whole, in one transaction, and never changes; the same one twice is stored
once. Knows nothing of adapters or of how trajectories become one.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rune_engine.database import Database, utc_now
from rune_engine.errors import TrajectoryForgottenError, TrajectoryNotFoundError
from rune_engine.models import Trajectory, TrajectoryDraft, TrajectoryListing, TrajectorySummary
from rune_engine.readers import Row
from rune_engine.trajectories import queries
from rune_engine.trajectories.checks import check_draft, content_hash
from rune_engine.trajectories.consent import require_consent, require_recorded
from rune_engine.trajectories.records import is_distillable
from rune_engine.trajectories.redaction import redact_draft

MAX_PAGE = 100


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
    unknown: int


class TrajectoryStore:
    """The trajectories of one home. Safe to share between threads and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        draft: TrajectoryDraft,
        *,
        trajectory_id: str | None = None,
        also: Callable[[sqlite3.Connection, str], None] | None = None,
    ) -> tuple[Trajectory, bool]:
        """Store a trajectory without its secrets; the second value tells that it was there already.

        Args:
            trajectory_id: a new one when left out; one that is taken is answered as it is stored.
            also: writes what belongs to it in the same transaction; told the id it is stored under.

        Raises:
            ProjectOptedOutError: its project may not be recorded.
            InvalidTrajectoryError: it contradicts itself, or holds text that is not UTF-8.
            TrajectoryForgottenError: it was forgotten, and stays so.
            DiskFullError, HomeNotWritableError, StorageError: nothing was stored.
        """
        check_draft(draft)
        draft = redact_draft(draft)
        digest = content_hash(draft)
        distillable = is_distillable(draft)
        with self._database.changing() as connection:
            wanted = trajectory_id or str(uuid.uuid4())
            stored = _with_id(connection, trajectory_id)
            stored = stored or _stored(connection, draft, digest, wanted)
            if stored:
                trajectory = queries.whole(connection, stored)[0]
            else:
                trajectory = _stamped(draft, digest, wanted)
                _insert(connection, trajectory, distillable)
            if also is not None:
                also(connection, trajectory.id)
        return trajectory, bool(stored)

    def get(self, trajectory_id: str) -> Trajectory:
        """One trajectory with its attempts.

        Raises:
            TrajectoryNotFoundError: there is none of that id.
        """
        with self._database.snapshot() as connection:
            rows = connection.execute(queries.BY_ID, [trajectory_id]).fetchall()
            if not rows:
                raise _not_found(trajectory_id)
            return queries.whole(connection, rows)[0]

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
        conditions = _given(project_id=project_id, session_id=session_id)
        count, newest = queries.page(conditions)
        values = list(conditions.values())
        with self._database.snapshot() as connection:
            total = connection.execute(count, values).fetchone()[0]
            rows = connection.execute(newest, [*values, limit, offset]).fetchall()
            found = queries.whole(connection, rows)
        end = offset + len(found)
        return TrajectoryPage(found, total, offset, end if found and end < total else None)

    def listing(
        self,
        *,
        project_id: str | None = None,
        session_id: str | None = None,
        offset: int = 0,
        limit: int = 20,
    ) -> TrajectoryListing:
        """A page of what trajectories were about, newest first; none of their attempts is read."""
        offset, limit = max(offset, 0), min(max(limit, 1), MAX_PAGE)
        conditions = _given(project_id=project_id, session_id=session_id)
        count, newest = queries.summaries(conditions)
        values = list(conditions.values())
        with self._database.snapshot() as connection:
            total = connection.execute(count, values).fetchone()[0]
            rows = connection.execute(newest, [*values, limit, offset]).fetchall()
        names = TrajectorySummary.model_fields
        found = [
            TrajectorySummary.model_validate(dict(zip(names, row, strict=True))) for row in rows
        ]
        end = offset + len(found)
        return TrajectoryListing(
            trajectories=found,
            total=total,
            offset=offset,
            next_offset=end if found and end < total else None,
        )

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
            ProjectOptedOutError: nothing may be learnt from this project.
        """
        conditions = _given(project_id=project_id, domain=domain, task_type=task_type)
        with self._database.snapshot() as connection:
            require_recorded(connection, project_id)
            if ids is None:
                rows = connection.execute(queries.distillable(conditions), [*conditions.values()])
                return queries.whole(connection, rows)
            _check_known(connection, project_id, ids)
            named = queries.teaching(conditions)
            rows = connection.execute(named, [json.dumps(list(ids)), *conditions.values()])
            found = queries.whole(connection, rows)
        return sorted(found, key=lambda trajectory: (trajectory.created_at, trajectory.id))

    def held_out(
        self,
        project_id: str,
        domain: str | None = None,
        task_type: str | None = None,
        *,
        limit: int = MAX_PAGE,
    ) -> list[Trajectory]:
        """What a project keeps for judging and has tests for, newest first."""
        conditions = _given(project_id=project_id, domain=domain, task_type=task_type)
        with self._database.snapshot() as connection:
            rows = connection.execute(queries.held_out(conditions), [*conditions.values(), limit])
            return queries.whole(connection, rows)

    def last_workspace(self, project_id: str) -> Path | None:
        """Where a project's code lies: the newest folder that a trajectory of it names.

        None where none was named, or none of them is there any more.
        """
        known = self._database.query(queries.WORKSPACES, [project_id, MAX_PAGE])
        folders = (Path(each) for each in dict.fromkeys(row[0] for row in known))
        return next((each for each in folders if each.is_absolute() and each.is_dir()), None)

    def count_distillable(self, project_id: str) -> int:
        """How many trajectories of a project a distillation would learn from."""
        return int(self._database.query(queries.COUNT_DISTILLABLE, [project_id])[0][0])

    def counts(self) -> list[ProjectCounts]:
        """How many trajectories each project has, by project."""
        return [ProjectCounts(*row) for row in self._database.query(queries.COUNTS)]


def _stored(
    connection: sqlite3.Connection, draft: TrajectoryDraft, digest: str, trajectory_id: str
) -> list[Row]:
    """The row of the same trajectory, if there is one.

    Raises:
        ProjectOptedOutError: its project may not be recorded.
        TrajectoryForgottenError: it was forgotten. What followed a session file once would bring
            back what the user had erased.
    """
    asked = (draft.project_id, digest, digest, trajectory_id)
    consent, same, erased_at = connection.execute(queries.BEFORE_RECORDING, asked).fetchone()
    require_consent(consent, draft.project_id)
    if same is not None:
        return connection.execute(queries.BY_ID, [same]).fetchall()
    if erased_at is not None:
        raise TrajectoryForgottenError(
            f"This trajectory was forgotten at {erased_at} and is not stored again.",
            next_step="If it is to be remembered after all, record it with another description.",
        )
    return []


def _with_id(connection: sqlite3.Connection, trajectory_id: str | None) -> list[Row]:
    if trajectory_id is None:
        return []
    return connection.execute(queries.BY_ID, [trajectory_id]).fetchall()


def _stamped(draft: TrajectoryDraft, digest: str, trajectory_id: str) -> Trajectory:
    """The trajectory as it will be stored."""
    own = {
        "id": trajectory_id,
        "session_id": draft.session_id or str(uuid.uuid4()),
        "content_hash": digest,
        "created_at": utc_now(),
    }
    return Trajectory.model_validate(vars(draft) | own)


def _insert(connection: sqlite3.Connection, trajectory: Trajectory, distillable: bool) -> None:
    session = (
        trajectory.session_id,
        trajectory.project_id,
        trajectory.agent_id,
        trajectory.created_at,
        trajectory.session_id,
    )
    connection.execute(queries.ADD_SESSION, session)
    row = queries.trajectory_row(trajectory, distillable)
    connection.execute(queries.ADD_TRAJECTORY, row)
    connection.executemany(queries.ADD_ATTEMPT, queries.attempt_rows(trajectory.id, trajectory))


def _check_known(connection: sqlite3.Connection, project_id: str, ids: Sequence[str]) -> None:
    known = connection.execute(queries.KNOWN, [json.dumps(list(ids)), project_id])
    unknown = set(ids) - {row[0] for row in known}
    if unknown:
        raise _not_found(sorted(unknown)[0], f" in project {project_id}")


def _given(**wanted: str | None) -> dict[str, str]:
    return {name: value for name, value in wanted.items() if value is not None}


def _not_found(trajectory_id: str, where: str = "") -> TrajectoryNotFoundError:
    return TrajectoryNotFoundError(
        f"There is no trajectory {trajectory_id}{where}.",
        next_step="Use the id that recording it answered.",
    )
