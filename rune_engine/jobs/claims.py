"""Running jobs: who holds which, for how long, and how it ends.

Whoever runs a job holds it by an attempt (the fencing token) and a lease: once somebody else has
taken it up, what the former owner writes changes nothing. Knows nothing of what jobs do.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, text
from sqlmodel import Session, col, select

from rune_engine.database import Database
from rune_engine.errors import EngineUnavailableError
from rune_engine.jobs import owner as owners
from rune_engine.jobs.records import JobRecord, JobStepRecord, find, held, holds, storable
from rune_engine.jobs.steps import Steps
from rune_engine.jobs.times import (
    AT_ONCE,
    LEASE,
    LONGEST_DELAY,
    Clock,
    as_text,
    retry_delay,
    system_clock,
)
from rune_engine.models import Job, JobStatus
from rune_engine.privacy import redact_json

_OLDEST = (col(JobRecord.created_at), col(JobRecord.id))
_NEXT = text("""
SELECT id FROM jobs INDEXED BY ix_jobs_claim
WHERE status = 'queued'
  AND (run_at <= :now OR run_at > :beyond)
  AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
ORDER BY priority DESC, run_at, created_at, id
LIMIT 1
""")
"""The index is named because SQLite would rather sort every queued job than read it in order."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What an owner learns as it renews its leases: jobs that are its own no more, and jobs that
    somebody wants to end."""

    lost: frozenset[str]
    cancelled: frozenset[str]


class Claims:
    """What a runner does with jobs. Safe to share between threads and between processes.

    Every method that takes a claimed job raises StaleAttemptError, and changes nothing, once the
    job has ended or was taken up again.
    """

    def __init__(self, database: Database, clock: Clock = system_clock) -> None:
        self._database = database
        self._clock = clock

    def claim(self, owner: str, kinds: Collection[str] | None = None) -> Job | None:
        """Start the next queued job that is due (of these kinds); None when there is none.

        Args:
            owner: as `owner.this_process` gives it; a job of any other owner is taken up by the
                next `take_up`.
        """
        now = self._clock()
        wanted = {
            "now": as_text(now),
            # Twice, so that a clock set back a little does not start what waits for its full time.
            "beyond": as_text(now + 2 * LONGEST_DELAY),
            "kinds": None if kinds is None else json.dumps(list(kinds)),
        }
        with self._database.writing() as session:
            job_id = session.connection().execute(_NEXT, wanted).scalar()
            if job_id is None:
                return None
            record = find(session, job_id)
            record.start(owner, as_text(now), as_text(now + LEASE))
            return record.to_job()

    def seconds_to_next(self, kinds: Collection[str]) -> float | None:
        """How long until a queued job of these kinds may start; None when none is queued."""
        query = select(func.min(JobRecord.run_at)).where(
            JobRecord.status == "queued", col(JobRecord.kind).in_(kinds)
        )
        with self._database.reading() as session:
            first = session.exec(query).one()
        if first is None:
            return None
        if not first:
            return 0.0
        return max(0.0, (datetime.fromisoformat(first) - self._clock()).total_seconds())

    def heartbeat(self, jobs: Iterable[Job]) -> Heartbeat:
        """Renew the leases of claimed jobs."""
        lost, cancelled = set(), set()
        with self._database.writing() as session:
            for job in jobs:
                record = session.get(JobRecord, job.id)
                if record is None or not holds(job, record):
                    lost.add(job.id)
                    continue
                record.lease_until = as_text(self._clock() + LEASE)
                if record.cancel_requested:
                    cancelled.add(job.id)
        return Heartbeat(frozenset(lost), frozenset(cancelled))

    def progress(self, job: Job, fraction: float, message: str) -> None:
        """Say how far a claimed job is (0 to 1)."""
        with self._database.writing() as session:
            fraction = min(1.0, max(0.0, fraction))
            held(session, job).change(progress=fraction, message=storable(message))

    def is_cancel_requested(self, job_id: str) -> bool:
        """Whether somebody wants this job to end."""
        with self._database.reading() as session:
            return find(session, job_id).cancel_requested

    def steps(self, job: Job) -> Steps:
        """The steps of a claimed job that are done once."""
        return Steps(self._database, job)

    def succeed(self, job: Job, result: dict[str, Any]) -> Job:
        """End a claimed job with its result."""
        with self._database.writing() as session:
            record = held(session, job)
            values = {"result": json.dumps(redact_json(result)), "error": None, "progress": 1.0}
            return self._end(session, record, "succeeded", "", **values)

    def fail(self, job: Job, error: dict[str, Any], *, retryable: bool = False) -> Job:
        """Write down the error that ended an attempt, as `RuneError.to_envelope()` data.

        A retryable one queues the job again, after a growing delay, until its attempts are used
        up; any other ends it.
        """
        error = redact_json(error)
        with self._database.writing() as session:
            record = held(session, job)
            if retryable and record.cancel_requested:
                return self._end(session, record, "cancelled", "Cancelled.")
            if retryable and record.attempt < record.max_attempts:
                return self._wait(record, error)
            message = str(error.get("message", ""))
            return self._end(session, record, "failed", message, error=json.dumps(error))

    def mark_cancelled(self, job: Job) -> Job:
        """End a claimed job because somebody asked for it."""
        with self._database.writing() as session:
            return self._end(session, held(session, job), "cancelled", "Cancelled.")

    def release(self, job: Job) -> Job:
        """Give a claimed job back, as its owner stops in good order: the start does not count."""
        with self._database.writing() as session:
            record = held(session, job)
            if record.cancel_requested:
                return self._end(session, record, "cancelled", "Cancelled.")
            # The attempt's number stays: what is left of it somewhere must not pass for the next.
            limit = record.max_attempts + 1
            record.wait("Waits to go on.", AT_ONCE, max_attempts=limit)
            return record.to_job()

    def take_up(self) -> list[Job]:
        """Queue again what dead and stuck owners were running, or end what was started too often.

        A dead owner's jobs are taken up at once, a living one's when its lease has run out.

        Returns:
            The jobs that changed.
        """
        query = select(JobRecord).where(JobRecord.status == "running").order_by(*_OLDEST)
        alive: dict[str, bool] = {}
        with self._database.writing() as session:
            changed = []
            for record in session.exec(query):
                name = record.owner or ""
                if name not in alive:
                    alive[name] = owners.is_alive(name)
                if not (alive[name] and self._leased(record)):
                    changed.append(self._take_up(session, record))
            return changed

    # --- how ---------------------------------------------------------------------------------

    def _leased(self, record: JobRecord) -> bool:
        now = self._clock()
        if record.lease_until is not None and record.lease_until > as_text(now + 2 * LEASE):
            # The clock was set back; a living owner renews it long before this one is over.
            record.lease_until = as_text(now + LEASE)
        return record.lease_until is not None and record.lease_until >= as_text(now)

    def _take_up(self, session: Session, record: JobRecord) -> Job:
        if record.cancel_requested:
            return self._end(session, record, "cancelled", "Cancelled.")
        if record.attempt < record.max_attempts:
            record.wait("Was interrupted; waits to start again.", AT_ONCE)
            return record.to_job()
        error = EngineUnavailableError(
            f"The engine ended or stood still {record.attempt} times while this job ran.",
            next_step="See the engine's log for why, then `rune jobs retry` it.",
        ).to_envelope()
        return self._end(session, record, "failed", error["message"], error=json.dumps(error))

    def _wait(self, record: JobRecord, error: dict[str, Any]) -> Job:
        delay = retry_delay(record.attempt)
        message = f"Starts again in {delay.total_seconds():.0f} s: {error.get('message', '')}"
        record.wait(message, as_text(self._clock() + delay), error=json.dumps(error))
        return record.to_job()

    def _end(
        self, session: Session, record: JobRecord, status: JobStatus, message: str, **values: Any
    ) -> Job:
        record.finish(status, message, as_text(self._clock()), **values)
        session.execute(delete(JobStepRecord).where(col(JobStepRecord.job_id) == record.id))
        return record.to_job()
