"""What a forgetting concerns: trajectories, their sessions, the jobs that hold their text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, func, text
from sqlmodel import Session, col, select

from rune_engine.errors import NotFoundError
from rune_engine.jobs.records import JobRecord
from rune_engine.models import Because, ForgetParams, ForgottenAdapter
from rune_engine.registry.lifecycle import dependents
from rune_engine.registry.records import AdapterRecord
from rune_engine.trajectories.records import AttemptRecord, SessionRecord, TrajectoryRecord


@dataclass(frozen=True, slots=True)
class Named:
    """A trajectory without its text."""

    id: str
    session_id: str
    project_id: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything that holds text of what is to be forgotten, by id."""

    project_ids: frozenset[str]
    trajectories: tuple[Named, ...]
    session_ids: tuple[str, ...]
    job_ids: tuple[str, ...]

    @property
    def trajectory_ids(self) -> list[str]:
        return [trajectory.id for trajectory in self.trajectories]


def find(session: Session, params: ForgetParams) -> Scope:
    """What `params` names.

    Raises:
        NotFoundError: there is no such project or session.
    """
    trajectories = tuple(_trajectories(session, params))
    projects = frozenset(t.project_id for t in trajectories) | _named_projects(session, params)
    sessions = {t.session_id for t in trajectories} | _named_sessions(session, params)
    jobs = tuple(_jobs(session, params, projects, [t.id for t in trajectories]))
    if not (trajectories or sessions or jobs):
        raise NotFoundError(
            f"Nothing is stored of {params.subject_kind} {params.subject}.",
            next_step="See `rune status` for projects; a session's id is told when it is stored.",
        )
    ended = tuple(sorted(_without_others(session, sessions, {t.id for t in trajectories})))
    return Scope(projects, trajectories, ended, jobs)


def dependent_adapters(session: Session, scope: Scope) -> list[ForgottenAdapter]:
    """Every adapter that learnt from the trajectories and is not forgotten yet, and how."""
    ids = dependents(session, scope.trajectory_ids)
    records = [r for r in map(partial(session.get, AdapterRecord), ids) if r is not None]
    roles = _roles(session, scope.trajectory_ids)
    return [
        _dependent(record, roles.get(record.id, []), set(ids))
        for record in records
        if record.forgotten_at is None
    ]


def _roles(session: Session, trajectory_ids: list[str]) -> dict[str, list[str]]:
    query = text(
        "SELECT adapter_id, role FROM adapter_trajectories"
        " WHERE trajectory_id IN (SELECT value FROM json_each(:ids))"
    )
    roles: dict[str, list[str]] = {}
    for row in session.connection().execute(query, {"ids": json.dumps(trajectory_ids)}):
        roles.setdefault(row.adapter_id, []).append(row.role)
    return roles


def _dependent(record: AdapterRecord, roles: list[str], all_ids: set[str]) -> ForgottenAdapter:
    parents = sorted(all_ids.intersection(json.loads(record.parent_ids)))
    because: Because = "not known"
    if roles:
        because = "it was trained on it" if "trained" in roles else "it was measured on it"
    elif parents:
        because = "a parent"
    return ForgottenAdapter(
        adapter_id=record.id,
        project_id=record.project_id,
        because=because,
        learnt_from=len(roles),
        parents=parents,
    )


def texts(session: Session, scope: Scope) -> Iterator[str]:
    """Every text that will be erased with the trajectories."""
    for trajectory_id in scope.trajectory_ids:
        record = session.get_one(TrajectoryRecord, trajectory_id)
        yield from (record.task_description, record.test_suite)
        query = select(AttemptRecord).where(AttemptRecord.trajectory_id == trajectory_id)
        for attempt in session.exec(query):
            yield from (attempt.generated_code, attempt.stdout, attempt.stderr)


def unfinished_jobs(session: Session, params: ForgetParams) -> list[str]:
    """Jobs that could still read or write what is to be forgotten.

    Of a session's project these are all: a training may have gathered its trajectories already.
    """
    projects = _named_projects(session, params)
    query = select(JobRecord).where(col(JobRecord.status).in_(("queued", "running")))
    return [job.id for job in session.exec(query) if _project_of(job) in projects]


def _trajectories(session: Session, params: ForgetParams) -> Iterator[Named]:
    columns = (
        TrajectoryRecord.id,
        TrajectoryRecord.session_id,
        TrajectoryRecord.project_id,
        TrajectoryRecord.content_hash,
    )
    query = select(*columns).where(_named(params)).order_by(col(TrajectoryRecord.created_at))
    return (Named(*row) for row in session.exec(query))


def _named(params: ForgetParams) -> ColumnElement[bool]:
    if params.session_id is not None:
        return col(TrajectoryRecord.session_id) == params.session_id
    return col(TrajectoryRecord.project_id) == params.project_id


def _named_projects(session: Session, params: ForgetParams) -> frozenset[str]:
    if params.project_id is not None:
        return frozenset({params.project_id})
    query = select(TrajectoryRecord.project_id).where(
        TrajectoryRecord.session_id == params.session_id
    )
    return frozenset(session.exec(query.distinct()).all())


def _named_sessions(session: Session, params: ForgetParams) -> set[str]:
    query = select(SessionRecord.id)
    if params.session_id is not None:
        return set(session.exec(query.where(SessionRecord.id == params.session_id)).all())
    return set(session.exec(query.where(SessionRecord.project_id == params.project_id)).all())


def _without_others(session: Session, sessions: Iterable[str], erased: set[str]) -> Iterator[str]:
    """Those sessions of which no trajectory stays (one may hold those of another project)."""
    for session_id in sessions:
        query = select(TrajectoryRecord.id).where(TrajectoryRecord.session_id == session_id)
        if not set(session.exec(query).all()) - erased:
            yield session_id


def _jobs(
    session: Session, params: ForgetParams, projects: frozenset[str], trajectory_ids: list[str]
) -> Iterator[str]:
    """A project's jobs; of a session those that name it, or a trajectory of it.

    A distillation's row holds only ids, and how to do it again.
    """
    names = [params.session_id, *trajectory_ids]
    for job in session.exec(select(JobRecord).where(_may_belong(projects))):
        if _project_of(job) not in projects:
            continue
        held = "".join(filter(None, (job.params, job.result, job.error)))
        of_session = job.kind != "distill" and any(name and name in held for name in names)
        if params.project_id is not None or of_session:
            yield job.id


def _may_belong(projects: frozenset[str]) -> ColumnElement[bool]:
    wanted = func.json_each(json.dumps(sorted(projects))).table_valued("value")
    known = col(JobRecord.project_id)
    return known.is_(None) | known.in_(select(wanted.c.value))


def _project_of(job: JobRecord) -> str | None:
    """Rows from before the column existed have it in their parameters only."""
    found = job.project_id or json.loads(job.params).get("project_id")
    return None if found is None else str(found)
