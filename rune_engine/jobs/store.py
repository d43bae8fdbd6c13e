"""Durable jobs: everything long, as rows that outlive any process.

A job is queued, then running, then queued again or finished; a finished one never changes again,
and the database refuses it too. Here they are asked for and looked at; `claims` is the side of
those who run them. Knows nothing of what jobs do.
"""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any, TypedDict, Unpack

from pydantic import BaseModel
from sqlalchemy import func
from sqlmodel import Session, col, select

from rune_engine.errors import ConflictError, InvalidInputError
from rune_engine.jobs.claims import Claims
from rune_engine.jobs.records import JobRecord, find, storable, with_key
from rune_engine.jobs.times import AT_ONCE, LONGEST_DELAY, as_text
from rune_engine.models import FINISHED, Job, JobKind, JobStatus

MAX_PAGE = 500
MAX_ATTEMPTS = 3

_OLDEST = (col(JobRecord.created_at), col(JobRecord.id))
_NEWEST = (col(JobRecord.created_at).desc(), col(JobRecord.id))


class JobOptions(TypedDict, total=False):
    """How a job is queued, beside its kind and its parameters.

    `priority`: higher ones start first. `delay_seconds`: at most an hour. `max_attempts`: starts
    before it is given up. `idempotency_key`: while a job of that key is unfinished, or once one
    has succeeded, that job is answered instead of a new one. `project_id`: whose data it handles;
    read from the parameters where they name it. `message`: shown while it waits.
    """

    priority: int
    delay_seconds: float
    max_attempts: int
    idempotency_key: str | None
    project_id: str | None
    message: str


class JobStore(Claims):
    """The jobs of one home. Safe to share between threads and between processes.

    Every method that takes an id raises JobNotFoundError for an unknown one.
    """

    def enqueue(
        self, kind: JobKind, params: BaseModel | dict[str, Any], **options: Unpack[JobOptions]
    ) -> Job:
        """Queue a job, or answer the one that has its idempotency key.

        Raises:
            InvalidInputError: an option is out of range.
        """
        with self._database.writing() as session:
            return self.enqueue_in(session, kind, params, **options)

    def enqueue_in(
        self,
        session: Session,
        kind: JobKind,
        params: BaseModel | dict[str, Any],
        **options: Unpack[JobOptions],
    ) -> Job:
        """`enqueue` within a write transaction: the job exists if the rest of it does."""
        if known := with_key(session, options.get("idempotency_key")):
            return known.to_job()
        data = params.model_dump(mode="json") if isinstance(params, BaseModel) else params
        now = self._clock()
        record = JobRecord(
            id=str(uuid.uuid4()),
            kind=kind,
            params=json.dumps(data),
            created_at=as_text(now),
            run_at=as_text(now + delay) if (delay := _delay(options)) else AT_ONCE,
            project_id=options.get("project_id", data.get("project_id")),
            priority=options.get("priority", 0),
            max_attempts=max(1, options.get("max_attempts", MAX_ATTEMPTS)),
            idempotency_key=options.get("idempotency_key"),
            message=storable(options.get("message", "")),
        )
        session.add(record)
        session.flush()
        return record.to_job()

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job anew, as another job: one that has ended stays.

        Raises:
            ConflictError: it has not ended, or it succeeded.
        """
        with self._database.writing() as session:
            ended = find(session, job_id).to_job()
            if ended.status not in ("failed", "cancelled"):
                raise ConflictError(
                    f"Job {job_id} is {ended.status}; there is nothing to repeat.",
                    next_step="Retry jobs that failed or were cancelled.",
                )
            return self.enqueue_in(
                session,
                ended.kind,
                ended.params,
                priority=ended.priority,
                project_id=ended.project_id,
                message=f"Repeats job {job_id}.",
            )

    def cancel(self, job_id: str) -> Job:
        """End a queued job, ask a running one to end, leave a finished one as it is."""
        with self._database.writing() as session:
            record = find(session, job_id)
            if record.status == "queued":
                what = "before it started" if record.attempt == 0 else "while it waited"
                self._end(session, record, "cancelled", f"Cancelled {what}.")
            elif record.status == "running" and not record.cancel_requested:
                record.change(cancel_requested=True)
            return record.to_job()

    def get(self, job_id: str) -> Job:
        """One job as it is now."""
        with self._database.reading() as session:
            return find(session, job_id).to_job()

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

    def ended(self, *, project_id: str | None = None, limit: int = 50) -> list[Job]:
        """Jobs that have ended, the last one first; at most `MAX_PAGE` of them."""
        query = select(JobRecord).where(col(JobRecord.status).in_(FINISHED))
        if project_id is not None:
            query = query.where(JobRecord.project_id == project_id)
        query = query.order_by(col(JobRecord.finished_at).desc(), col(JobRecord.id))
        with self._database.reading() as session:
            found = session.exec(query.limit(min(max(limit, 1), MAX_PAGE)))
            return [record.to_job() for record in found]

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


def _delay(options: JobOptions) -> timedelta:
    delay = timedelta(seconds=options.get("delay_seconds", 0.0))
    if not timedelta() <= delay <= LONGEST_DELAY:
        raise InvalidInputError(
            f"A job cannot be delayed by {delay}.",
            next_step=f"Delays are between 0 and {LONGEST_DELAY.total_seconds():.0f} s.",
        )
    return delay
