"""The `jobs` and `job_steps` tables, how a row is found and how it changes."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Text
from sqlmodel import Field, Session, SQLModel, select

from rune_engine.errors import JobNotFoundError, StaleAttemptError
from rune_engine.models import Job, JobStatus
from rune_engine.privacy import redact

_LONGEST_MESSAGE = 1000


class JobRecord(SQLModel, table=True):
    """One row a job. `revision` rises with every change; `attempt` with every start, so that it
    says which start a write belongs to."""

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

    def start(self, owner: str, now: str, lease_until: str) -> None:
        self.change(
            status="running",
            owner=owner,
            attempt=self.attempt + 1,
            started_at=now,
            lease_until=lease_until,
            progress=0.0,
            message="",
        )

    def wait(self, message: str, run_at: str, **values: Any) -> None:
        """Go back to the queue."""
        self.change(
            status="queued",
            owner=None,
            lease_until=None,
            progress=0.0,
            message=storable(message),
            run_at=run_at,
            **values,
        )

    def finish(self, status: JobStatus, message: str, now: str, **values: Any) -> None:
        """End for good. Only a job that succeeded keeps its idempotency key: one that did not may
        be asked for again."""
        if status != "succeeded":
            values["idempotency_key"] = None
        self.change(
            status=status,
            message=storable(message),
            finished_at=now,
            owner=None,
            lease_until=None,
            **values,
        )


class JobStepRecord(SQLModel, table=True):
    """The output of a step that an unfinished job has done; it goes with the job's end."""

    __tablename__ = "job_steps"

    job_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    output: str = Field(sa_type=Text, description="JSON.")
    created_at: str = Field(sa_type=Text)


def storable(message: str) -> str:
    """A message from anywhere, without secrets, as text that SQLite and JSON can hold."""
    clean = redact(message).text[:_LONGEST_MESSAGE].replace("\0", "")
    return clean.encode("utf-8", "replace").decode("utf-8")


def find(session: Session, job_id: str) -> JobRecord:
    """The row of one job.

    Raises:
        JobNotFoundError: there is none of that id.
    """
    record = session.get(JobRecord, job_id)
    if record is None:
        raise JobNotFoundError(
            f"There is no job {job_id}.", next_step="List the jobs to see their ids."
        )
    return record


def with_key(session: Session, key: str | None) -> JobRecord | None:
    """The row that has this idempotency key."""
    if key is None:
        return None
    return session.exec(select(JobRecord).where(JobRecord.idempotency_key == key)).first()


def holds(job: Job, record: JobRecord) -> bool:
    """Whether `job`, as it was claimed, is still the one that runs."""
    return record.status == "running" and record.attempt == job.attempt


def held(session: Session, job: Job) -> JobRecord:
    """The row of a claimed job, for its holder to write on.

    Raises:
        StaleAttemptError: the job has ended, or was taken up again.
    """
    record = find(session, job.id)
    if not holds(job, record):
        raise StaleAttemptError(
            f"Job {job.id} is {record.status} in attempt {record.attempt}; attempt {job.attempt} "
            "has nothing to say any more.",
            next_step="Discard what that attempt did.",
        )
    return record
