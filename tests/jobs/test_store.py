"""Jobs as rows: each is claimed once, ends once, and outlives the engine that ran it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.errors import JobNotFoundError, StaleAttemptError, StorageError, TrainingError
from rune_engine.jobs.store import JobStore
from rune_engine.models import DistillParams, Job

ERROR = TrainingError("It did not converge.", next_step="Try fewer steps.").to_envelope()


def started(jobs: JobStore) -> Job:
    jobs.enqueue("distill", {})
    job = jobs.claim("engine")
    assert job is not None
    return job


def test_a_job_waits_runs_and_succeeds(jobs: JobStore) -> None:
    queued = jobs.enqueue("distill", DistillParams(project_id="alpha"))
    assert (queued.status, queued.attempt, queued.params["project_id"]) == ("queued", 0, "alpha")
    running = jobs.claim("engine")
    assert running is not None
    assert (running.id, running.status, running.attempt) == (queued.id, "running", 1)
    assert running.started_at is not None
    jobs.progress(running, 0.5, "half of it")
    assert (jobs.get(queued.id).progress, jobs.get(queued.id).message) == (0.5, "half of it")
    done = jobs.succeed(running, {"adapter_id": "a"})
    assert (done.status, done.progress, done.result) == ("succeeded", 1.0, {"adapter_id": "a"})
    assert done.finished_at is not None
    assert jobs.get(queued.id) == done


def test_a_failed_job_keeps_its_error(jobs: JobStore) -> None:
    failed = jobs.fail(started(jobs), ERROR)
    assert (failed.status, failed.error) == ("failed", ERROR)
    assert failed.message == "It did not converge."


def test_every_change_raises_the_revision(jobs: JobStore) -> None:
    job = started(jobs)
    revisions = [job.revision]
    changes: list[Callable[[], object]] = [
        lambda: jobs.progress(job, 0.1, ""),
        lambda: jobs.cancel(job.id),
        lambda: jobs.mark_cancelled(job),
    ]
    for change in changes:
        change()
        revisions.append(jobs.get(job.id).revision)
    assert revisions == [2, 3, 4, 5]


def test_jobs_are_claimed_oldest_first_and_by_kind(jobs: JobStore) -> None:
    first = jobs.enqueue("distill", {})
    second = jobs.enqueue("run_task", {})
    third = jobs.enqueue("distill", {})
    order = [jobs.claim("engine", ["run_task"]), jobs.claim("engine"), jobs.claim("engine")]
    assert [job and job.id for job in order] == [second.id, first.id, third.id]
    assert jobs.claim("engine") is None
    assert jobs.claim("engine", []) is None


def test_threads_that_claim_at_once_never_get_the_same_job(jobs: JobStore) -> None:
    ids = {jobs.enqueue("distill", {}).id for _ in range(40)}
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda n: jobs.claim(f"engine-{n}"), range(48)))
    taken = [job.id for job in claimed if job is not None]
    assert len(taken) == 40
    assert set(taken) == ids


CLAIM = """
import sys
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.jobs.store import JobStore
jobs = JobStore(open_database(load_config(home=sys.argv[1])))
while (job := jobs.claim("engine")) is not None:
    jobs.succeed(job, {})
    print(job.id)
"""


def test_processes_that_claim_at_once_never_get_the_same_job(
    jobs: JobStore, config: RuneConfig
) -> None:
    ids = {jobs.enqueue("distill", {}).id for _ in range(60)}
    command = [sys.executable, "-c", CLAIM, str(config.home)]
    root = Path(__file__).resolve().parents[2]
    processes = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    taken = [line for p in processes for line in p.communicate(timeout=120)[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(taken) == sorted(ids)
    assert jobs.counts() == {"succeeded": 60}


def test_a_queued_job_is_cancelled_at_once(jobs: JobStore) -> None:
    job = jobs.enqueue("distill", {})
    assert jobs.cancel(job.id).status == "cancelled"
    assert jobs.claim("engine") is None


def test_a_running_job_is_asked_to_end(jobs: JobStore) -> None:
    job = started(jobs)
    assert not jobs.is_cancel_requested(job.id)
    assert jobs.cancel(job.id).status == "running"
    assert jobs.is_cancel_requested(job.id)
    again = jobs.cancel(job.id)
    assert again == jobs.get(job.id)
    assert jobs.mark_cancelled(job).status == "cancelled"


ENDINGS: list[Callable[[JobStore, Job], Job]] = [
    lambda jobs, job: jobs.succeed(job, {"n": 1}),
    lambda jobs, job: jobs.fail(job, ERROR),
    lambda jobs, job: jobs.mark_cancelled(job),
]
CLAIMED: list[Callable[[JobStore, Job], object]] = [
    *ENDINGS,
    lambda jobs, job: jobs.fail(job, ERROR, retryable=True),
    lambda jobs, job: jobs.release(job),
    lambda jobs, job: jobs.progress(job, 0.1, "still going"),
]


@pytest.mark.parametrize("end", ENDINGS, ids=["succeeded", "failed", "cancelled"])
def test_a_finished_job_never_changes_again(
    jobs: JobStore, database: Database, end: Callable[[JobStore, Job], Job]
) -> None:
    job = started(jobs)
    done = end(jobs, job)
    for late in CLAIMED:
        with pytest.raises(StaleAttemptError):
            late(jobs, job)
    assert jobs.heartbeat([job]).lost == {job.id}
    jobs.cancel(done.id)
    assert jobs.take_up() == []
    assert jobs.claim("engine") is None
    assert jobs.get(done.id) == done
    with pytest.raises(StorageError, match="never changes"), database.writing() as session:
        session.connection().execute(text("UPDATE jobs SET status = 'queued'"))


def test_a_job_that_was_not_started_cannot_end(jobs: JobStore) -> None:
    job = jobs.enqueue("distill", {})
    for early in CLAIMED:
        with pytest.raises(StaleAttemptError):
            early(jobs, job)
    assert jobs.get(job.id) == job


def test_queued_jobs_are_left_alone_by_recovery(jobs: JobStore) -> None:
    job = jobs.enqueue("run_task", {})
    assert jobs.take_up() == []
    assert jobs.get(job.id) == job


def test_jobs_are_listed_and_counted(jobs: JobStore) -> None:
    ids = [jobs.enqueue("distill", {}).id for _ in range(4)]
    jobs.claim("engine")
    jobs.cancel(ids[1])
    assert [job.id for job in jobs.newest()] == ids[::-1]
    assert [job.id for job in jobs.newest(2, offset=1)] == [ids[2], ids[1]]
    assert [job.id for job in jobs.newest(status="queued")] == [ids[3], ids[2]]
    assert [job.id for job in jobs.unfinished()] == [ids[0], ids[2], ids[3]]
    assert jobs.counts() == {"running": 1, "queued": 2, "cancelled": 1}


def test_messages_from_anywhere_can_be_stored(jobs: JobStore) -> None:
    job = started(jobs)
    jobs.progress(job, float("nan"), "a\0b\ud800" + "x" * 5000)
    stored = jobs.get(job.id)
    assert stored.progress == 0.0
    assert stored.message.startswith("ab?x")
    assert len(stored.message) <= 1000


def test_unknown_jobs_are_not_found(jobs: JobStore) -> None:
    calls: list[Callable[[str], object]] = [
        jobs.get,
        jobs.cancel,
        jobs.is_cancel_requested,
        jobs.retry,
    ]
    for call in calls:
        with pytest.raises(JobNotFoundError, match="nobody"):
            call("nobody")
