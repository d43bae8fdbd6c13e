"""Who holds a job: leases, dead and stuck owners, stale attempts, retries, priorities, clocks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, text
from standing_clock import StandingClock

from rune_engine.database import Database
from rune_engine.errors import (
    ConflictError,
    InvalidInputError,
    StaleAttemptError,
    WorkerDiedError,
)
from rune_engine.jobs.owner import is_alive, this_process
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.times import LEASE, LONGEST_DELAY, retry_delay
from rune_engine.models import Job

ERROR = WorkerDiedError("It was killed.", next_step="Try again.").to_envelope()
SLEEPER = """
import sys, time
from rune_engine.jobs.owner import this_process
print(this_process(), flush=True)
sys.stdin.read()
"""


class Owner:
    """A real process that could run jobs, until it is killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SLEEPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.name = self._process.stdout.readline().strip()

    def kill(self) -> None:
        """Killed, and not yet waited for: a zombie."""
        self._process.kill()

    def bury(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=60)


@pytest.fixture
def owner() -> Iterator[Owner]:
    found = Owner()
    yield found
    found.bury()


def claimed(jobs: JobStore, owner: str | None = None) -> Job:
    job = jobs.claim(owner or this_process())
    assert job is not None
    return job


def started(jobs: JobStore, owner: str | None = None, **options: Any) -> Job:
    jobs.enqueue("distill", {}, **options)
    return claimed(jobs, owner)


# --- owners ------------------------------------------------------------------------------------


def test_a_process_is_told_alive_from_dead_and_from_another_with_its_id(owner: Owner) -> None:
    assert is_alive(this_process()) and is_alive(owner.name)
    boot, namespace, pid, started_at = owner.name.split("/")
    assert not is_alive(f"{boot}/{namespace}/{pid}/{int(started_at.split('.')[0]) + 1}")
    assert not is_alive(f"another-boot/{namespace}/{pid}/{started_at}")
    owner.bury()
    assert not is_alive(owner.name)
    assert not is_alive("engine-1234") and not is_alive("")


def test_an_owner_in_another_container_counts_as_alive(owner: Owner) -> None:
    boot, _, pid, started_at = owner.name.split("/")
    assert is_alive(f"{boot}/pid:[1]/{pid}/{started_at}")


def test_a_dead_owners_job_is_taken_up_at_once_a_living_ones_is_not(
    jobs: JobStore, owner: Owner
) -> None:
    job = started(jobs, owner.name)
    assert jobs.take_up() == []
    owner.bury()
    (taken,) = jobs.take_up()
    assert (taken.id, taken.status, taken.attempt) == (job.id, "queued", 1)
    assert claimed(jobs).attempt == 2


def test_a_job_that_keeps_killing_its_owner_is_given_up_with_its_error(jobs: JobStore) -> None:
    job = started(jobs, "dead")
    for attempt in (1, 2):
        (taken,) = jobs.take_up()
        assert (taken.status, taken.attempt, taken.progress) == ("queued", attempt, 0.0)
        assert claimed(jobs, "dead").attempt == attempt + 1
    (given_up,) = jobs.take_up()
    assert (given_up.id, given_up.status) == (job.id, "failed")
    assert given_up.error is not None and "3 times" in given_up.error["message"]
    assert given_up.error["next_step"]
    assert jobs.take_up() == [] and jobs.claim("dead") is None


def test_a_dead_owners_job_that_was_to_be_cancelled_is(jobs: JobStore) -> None:
    job = started(jobs, "dead")
    jobs.cancel(job.id)
    assert [taken.status for taken in jobs.take_up()] == ["cancelled"]


# --- leases ------------------------------------------------------------------------------------


def test_a_stuck_owners_job_is_taken_up_when_its_lease_is_over(
    timed: JobStore, clock: StandingClock
) -> None:
    job = started(timed)
    clock.move(seconds=LEASE.total_seconds())
    assert timed.take_up() == []
    clock.move(seconds=1)
    assert [taken.id for taken in timed.take_up()] == [job.id]


def test_a_heartbeat_renews_the_lease(timed: JobStore, clock: StandingClock) -> None:
    job = started(timed)
    for _ in range(4):
        clock.move(seconds=45)
        told = timed.heartbeat([job])
        assert not told.lost and not told.cancelled
        assert timed.take_up() == []
    assert timed.get(job.id).revision == job.revision, "nobody who waits for news is woken"


def test_an_owner_learns_from_its_heartbeat_what_it_lost_and_what_to_end(
    timed: JobStore, clock: StandingClock
) -> None:
    lost, unwanted = started(timed), started(timed)
    timed.cancel(unwanted.id)
    clock.move(seconds=45)
    timed.heartbeat([unwanted])
    clock.move(seconds=45)
    assert [job.id for job in timed.take_up()] == [lost.id]
    told = timed.heartbeat([lost, unwanted])
    assert (told.lost, told.cancelled) == ({lost.id}, {unwanted.id})


def test_what_a_former_owner_writes_changes_nothing_and_it_is_told(
    timed: JobStore, clock: StandingClock
) -> None:
    stale = started(timed)
    clock.move(minutes=2)
    timed.take_up()
    current = claimed(timed)
    for write in (
        lambda: timed.succeed(stale, {"by": "the stale one"}),
        lambda: timed.fail(stale, ERROR, retryable=True),
        lambda: timed.mark_cancelled(stale),
        lambda: timed.progress(stale, 0.9, "nearly"),
        lambda: timed.release(stale),
    ):
        with pytest.raises(StaleAttemptError, match="attempt 1"):
            write()
    assert timed.get(current.id) == current
    assert timed.succeed(current, {"by": "the current one"}).result == {"by": "the current one"}


def test_a_given_back_job_is_no_attempt_and_its_former_owner_is_stale(jobs: JobStore) -> None:
    job = started(jobs, max_attempts=1)
    for _ in range(5):
        released = jobs.release(job)
        assert released.status == "queued"
        again = claimed(jobs)
        assert again.attempt == job.attempt + 1 and again.max_attempts - again.attempt == 0
        with pytest.raises(StaleAttemptError):
            jobs.progress(job, 0.5, "")
        job = again
    assert jobs.fail(job, ERROR, retryable=True).status == "failed"


# --- retries -----------------------------------------------------------------------------------


def test_an_error_that_may_pass_is_retried_after_a_growing_delay_until_it_is_final(
    timed: JobStore, clock: StandingClock
) -> None:
    job = started(timed, max_attempts=4)
    delays = []
    for attempt in (1, 2, 3):
        waiting = timed.fail(job, ERROR, retryable=True)
        assert (waiting.status, waiting.attempt) == ("queued", attempt)
        assert waiting.error == ERROR and "It was killed." in waiting.message
        assert timed.claim("x") is None, "not before its time"
        seconds = timed.seconds_to_next(["distill"])
        assert seconds is not None
        delays.append(seconds)
        clock.move(seconds=seconds)
        job = claimed(timed)
    assert delays == sorted(delays) and 0 < delays[0] <= 1 and 2 <= delays[2] <= 4
    failed = timed.fail(job, ERROR, retryable=True)
    assert (failed.status, failed.attempt, failed.error) == ("failed", 4, ERROR)


def test_an_error_that_cannot_pass_is_final_at_once(jobs: JobStore) -> None:
    assert jobs.fail(started(jobs), ERROR).status == "failed"


def test_a_job_that_succeeds_after_all_has_no_error(timed: JobStore, clock: StandingClock) -> None:
    timed.fail(started(timed), ERROR, retryable=True)
    clock.move(seconds=1)
    done = timed.succeed(claimed(timed), {})
    assert (done.status, done.error, done.attempt) == ("succeeded", None, 2)


def test_a_job_is_cancelled_while_it_waits_for_its_retry(
    timed: JobStore, clock: StandingClock
) -> None:
    job = timed.fail(started(timed), ERROR, retryable=True)
    assert timed.cancel(job.id).status == "cancelled"
    clock.move(hours=1)
    assert timed.claim("x") is None
    running = started(timed)
    timed.cancel(running.id)
    assert timed.fail(running, ERROR, retryable=True).status == "cancelled"


def test_delays_double_vary_and_stay_bounded() -> None:
    for attempt, longest in ((1, 1), (2, 2), (5, 16), (11, 600), (10_000, 600)):
        delays = {retry_delay(attempt).total_seconds() for _ in range(50)}
        assert len(delays) > 1
        assert longest / 2 <= min(delays) and max(delays) <= longest


def test_a_failed_job_is_repeated_as_another_job(jobs: JobStore) -> None:
    job = started(jobs, priority=3, project_id="shop")
    for too_early in (job.id, jobs.enqueue("distill", {}).id):
        with pytest.raises(ConflictError, match="nothing to repeat"):
            jobs.retry(too_early)
    failed = jobs.fail(job, ERROR)
    again = jobs.retry(job.id)
    assert again.id != job.id and job.id in again.message
    assert (again.params, again.priority, again.project_id) == (job.params, 3, "shop")
    assert (again.status, again.attempt) == ("queued", 0)
    assert jobs.get(job.id) == failed


# --- order, delays, keys -----------------------------------------------------------------------


def test_higher_priorities_start_first_and_equals_in_order(jobs: JobStore) -> None:
    ids = {
        name: jobs.enqueue("distill", {}, priority=priority).id
        for name, priority in (("a", 0), ("b", 5), ("c", -1), ("d", 5))
    }
    order = [claimed(jobs).id for _ in ids]
    assert order == [ids["b"], ids["d"], ids["a"], ids["c"]]


def test_a_delayed_job_waits_and_holds_nobody_up(timed: JobStore, clock: StandingClock) -> None:
    later = timed.enqueue("distill", {}, delay_seconds=60, priority=9)
    now = timed.enqueue("distill", {})
    assert claimed(timed).id == now.id
    assert timed.claim("x") is None and timed.seconds_to_next(["distill"]) == 60
    assert timed.seconds_to_next(["run_task"]) is None
    clock.move(seconds=60)
    assert claimed(timed).id == later.id
    for delay in (-1.0, LONGEST_DELAY.total_seconds() + 1):
        with pytest.raises(InvalidInputError, match="delayed"):
            timed.enqueue("distill", {}, delay_seconds=delay)


def test_a_clock_set_back_strands_nothing(timed: JobStore, clock: StandingClock) -> None:
    running = started(timed)
    queued = timed.enqueue("distill", {})
    clock.move(days=-400)
    assert claimed(timed).id == queued.id, "its time counts as come"
    assert timed.take_up() == [], "a living owner keeps what it has"
    clock.move(seconds=LEASE.total_seconds() + 1)
    assert {job.id for job in timed.take_up()} == {queued.id, running.id}


def test_a_clock_set_forward_fails_nothing(timed: JobStore, clock: StandingClock) -> None:
    job = started(timed)
    clock.move(days=400)
    assert not timed.heartbeat([job]).lost, "its own owner may go on"
    assert timed.take_up() == []


def test_a_key_answers_the_job_that_has_it(jobs: JobStore) -> None:
    first = jobs.enqueue("distill", {"n": 1}, idempotency_key="once")
    assert jobs.enqueue("distill", {"n": 2}, idempotency_key="once") == first
    assert jobs.enqueue("distill", {}, idempotency_key="other").id != first.id
    running = claimed(jobs)
    assert jobs.enqueue("distill", {}, idempotency_key="once") == running
    done = jobs.succeed(running, {})
    assert jobs.enqueue("distill", {}, idempotency_key="once") == done


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_a_key_is_free_again_once_its_job_came_to_nothing(jobs: JobStore, end: str) -> None:
    first = started(jobs, idempotency_key="once")
    jobs.fail(first, ERROR) if end == "fail" else jobs.mark_cancelled(first)
    assert jobs.enqueue("distill", {}, idempotency_key="once").id != first.id


def test_the_project_is_read_from_the_parameters_or_told(jobs: JobStore) -> None:
    assert jobs.enqueue("distill", {"project_id": "shop"}).project_id == "shop"
    assert jobs.enqueue("evaluate", {}, project_id="other").project_id == "other"
    assert jobs.enqueue("import", {}).project_id is None


def test_a_job_commits_or_vanishes_with_what_it_belongs_to(
    jobs: JobStore, database: Database
) -> None:
    with pytest.raises(ZeroDivisionError), database.writing() as session:
        session.connection().execute(text("CREATE TABLE beside (n INTEGER)"))
        jobs.enqueue_in(session, "distill", {})
        raise ZeroDivisionError
    assert jobs.counts() == {}
    with database.writing() as session:
        job = jobs.enqueue_in(session, "distill", {})
    assert jobs.get(job.id) == job


# --- how it is found ---------------------------------------------------------------------------


def test_claiming_reads_an_index_in_its_order(jobs: JobStore, database: Database) -> None:
    seen: list[tuple[str, Any]] = []

    def listen(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(database._engine, "before_cursor_execute", listen)
    jobs.claim("x", ["distill", "run_task"])
    event.remove(database._engine, "before_cursor_execute", listen)
    [(statement, parameters)] = [pair for pair in seen if "ORDER BY" in pair[0]]
    with database.reading() as session:
        explained = session.connection().exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement}", parameters
        )
        plan = " | ".join(row[3] for row in explained)
    assert plan.startswith("SCAN jobs USING INDEX ix_jobs_claim |")
    assert "TEMP B-TREE" not in plan, "nothing is sorted"
