"""The `jobs` table: everything long, as rows that outlive any process.

A job is queued, then running, then finished; a finished one never changes again, and the database
refuses it too. Knows nothing of what jobs do or who runs them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Text, func
from sqlmodel import Field, Session, SQLModel, col, select

from rune_engine.database import Database, utc_now
from rune_engine.errors import EngineUnavailableError, JobNotFoundError
from rune_engine.models import Job, JobKind, JobStatus

MAX_PAGE = 500
_LONGEST_MESSAGE = 1000


class JobRecord(SQLModel, table=True):
    """One row a job. `revision` rises with every change."""

    __tablename__ = "jobs"

    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    status: str = Field(default="queued", sa_type=Text)
    progress: float = 0.0
    message: str = Field(default="", sa_type=Text)
    params: str = Field(sa_type=Text, description="JSON.")
    result: str | None = Field(default=None, sa_type=Text, description="JSON.")
    error: str | None = Field(default=None, sa_type=Text, description="JSON.")
    attempt: int = 0
    revision: int = 1
    cancel_requested: bool = False
    owner: str | None = Field(default=None, sa_type=Text)
    created_at: str = Field(sa_type=Text)
    started_at: str | None = Field(default=None, sa_type=Text)
    finished_at: str | None = Field(default=None, sa_type=Text)
    project_id: str | None = Field(default=None, sa_type=Text)
    priority: int = 0
    run_at: str = Field(default="", sa_type=Text)
    max_attempts: int = 3
    idempotency_key: str | None = Field(default=None, sa_type=Text)
    lease_until: str | None = Field(default=None, sa_type=Text)

    def to_job(self) -> Job:
        data = self.model_dump(include=set(Job.model_fields))
        for name in ("params", "result", "error"):
            data[name] = None if data[name] is None else json.loads(data[name])
        return Job.model_validate(data)

    def change(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)
        self.revision += 1

    def finish(self, status: JobStatus, message: str, **values: Any) -> None:
        self.change(status=status, message=message, finished_at=utc_now(), owner=None, **values)


_OLDEST = (col(JobRecord.created_at), col(JobRecord.id))
_NEWEST = (col(JobRecord.created_at).desc(), col(JobRecord.id))


class JobStore:
    """The jobs of one home. Safe to share between threads and between processes.

    Every method that takes an id raises JobNotFoundError for an unknown one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- asking for work -------------------------------------------------------------------

    def enqueue(self, kind: JobKind, params: BaseModel | dict[str, Any]) -> Job:
        """Queue a job."""
        data = params.model_dump(mode="json") if isinstance(params, BaseModel) else params
        record = JobRecord(
            id=str(uuid.uuid4()), kind=kind, params=json.dumps(data), created_at=utc_now()
        )
        with self._database.writing() as session:
            session.add(record)
            session.flush()
            return record.to_job()

    def cancel(self, job_id: str) -> Job:
        """End a queued job, ask a running one to end, leave a finished one as it is."""
        with self._database.writing() as session:
            record = _get(session, job_id)
            if record.status == "queued":
                record.finish("cancelled", "Cancelled before it started.")
            elif record.status == "running" and not record.cancel_requested:
                record.change(cancel_requested=True)
            return record.to_job()

    def get(self, job_id: str) -> Job:
        """One job as it is now."""
        with self._database.reading() as session:
            return _get(session, job_id).to_job()

    def newest(
        self, limit: int = 50, *, offset: int = 0, status: JobStatus | None = None
    ) -> list[Job]:
        """Jobs, newest first; at most `MAX_PAGE` of them."""
        query = select(JobRecord).order_by(*_NEWEST)
        if status is not None:
            query = query.where(JobRecord.status == status)
        query = query.offset(max(offset, 0)).limit(min(max(limit, 1), MAX_PAGE))
        with self._database.reading() as session:
            return [record.to_job() for record in session.exec(query)]

    def that_made(self, adapter_id: str) -> Job | None:
        """The distillation whose result is this adapter."""
        made = func.json_extract(JobRecord.result, "$.adapter_id") == adapter_id
        query = select(JobRecord).where(
            JobRecord.kind == "distill", JobRecord.status == "succeeded", made
        )
        with self._database.reading() as session:
            record = session.exec(query).first()
            return None if record is None else record.to_job()

    def unfinished(self) -> list[Job]:
        """Every queued or running job, oldest first."""
        query = select(JobRecord).where(col(JobRecord.status).in_(("queued", "running")))
        with self._database.reading() as session:
            return [record.to_job() for record in session.exec(query.order_by(*_OLDEST))]

    def counts(self) -> dict[str, int]:
        """How many jobs have each status; one that no job has is left out."""
        query = select(JobRecord.status, func.count()).group_by(col(JobRecord.status))
        with self._database.reading() as session:
            return dict(session.exec(query).all())

    # --- doing it --------------------------------------------------------------------------

    def claim(self, owner: str, kinds: Collection[str] | None = None) -> Job | None:
        """Start the oldest queued job (of these kinds); None when there is none."""
        query = select(JobRecord).where(JobRecord.status == "queued").order_by(*_OLDEST)
        if kinds is not None:
            query = query.where(col(JobRecord.kind).in_(kinds))
        with self._database.writing() as session:
            record = session.exec(query.limit(1)).first()
            if record is None:
                return None
            record.change(
                status="running",
                owner=owner,
                attempt=record.attempt + 1,
                started_at=utc_now(),
                progress=0.0,
                message="",
            )
            return record.to_job()

    def progress(self, job_id: str, fraction: float, message: str) -> None:
        """Say how far a running job is (0 to 1); nothing happens to any other."""
        with self._database.writing() as session:
            record = _get(session, job_id)
            if record.status == "running":
                fraction = min(1.0, max(0.0, fraction))
                record.change(progress=fraction, message=_storable(message))

    def is_cancel_requested(self, job_id: str) -> bool:
        """Whether somebody wants this job to end."""
        with self._database.reading() as session:
            return _get(session, job_id).cancel_requested

    def succeed(self, job_id: str, result: dict[str, Any]) -> Job:
        """End a running job with its result."""
        return self._finish(job_id, "succeeded", "", result=json.dumps(result), progress=1.0)

    def fail(self, job_id: str, error_envelope: dict[str, Any]) -> Job:
        """End a running job with the error that ended it, as `RuneError.to_envelope()` data."""
        message = _storable(str(error_envelope.get("message", "")))
        return self._finish(job_id, "failed", message, error=json.dumps(error_envelope))

    def mark_cancelled(self, job_id: str) -> Job:
        """End a running job because somebody asked for it."""
        return self._finish(job_id, "cancelled", "Cancelled.")

    def recover(self, max_attempts: int = 3) -> list[Job]:
        """Take up the jobs that were running when the last engine ended.

        Call it while holding the engine's lock: then every running row is a dead engine's. Each
        is queued again, or ended when it was to be cancelled or was started too often.

        Returns:
            The jobs that changed.
        """
        query = select(JobRecord).where(JobRecord.status == "running").order_by(*_OLDEST)
        with self._database.writing() as session:
            interrupted = session.exec(query).all()
            for record in interrupted:
                _take_up(record, max_attempts)
            return [record.to_job() for record in interrupted]

    def _finish(self, job_id: str, status: JobStatus, message: str, **values: Any) -> Job:
        with self._database.writing() as session:
            record = _get(session, job_id)
            if record.status == "running":
                record.finish(status, message, **values)
            return record.to_job()


def _get(session: Session, job_id: str) -> JobRecord:
    record = session.get(JobRecord, job_id)
    if record is None:
        raise JobNotFoundError(
            f"There is no job {job_id}.", next_step="List the jobs to see their ids."
        )
    return record


def _take_up(record: JobRecord, max_attempts: int) -> None:
    if record.cancel_requested:
        record.finish("cancelled", "Cancelled.")
    elif record.attempt < max_attempts:
        record.change(status="queued", owner=None, progress=0.0, message="Waits to start again.")
    else:
        error = EngineUnavailableError(
            f"The engine ended {record.attempt} times while this job ran.",
            next_step="See the engine's log for why, then start the job again.",
        )
        record.finish("failed", error.message, error=json.dumps(error.to_envelope()))


def _storable(message: str) -> str:
    """A message from anywhere, as text that SQLite and JSON can hold."""
    clean = message[:_LONGEST_MESSAGE].replace("\0", "")
    return clean.encode("utf-8", "replace").decode("utf-8")
