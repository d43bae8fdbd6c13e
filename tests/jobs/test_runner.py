"""The runner over real rows: retries, what a lost job's work is worth, and what it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from engine_support import until
from standing_clock import StandingClock

from rune_engine.database import Database
from rune_engine.errors import InvalidInputError, StaleAttemptError, WorkerDiedError
from rune_engine.jobs.owner import this_process
from rune_engine.jobs.progress import Report
from rune_engine.jobs.runner import JobRunner
from rune_engine.jobs.steps import Steps
from rune_engine.jobs.store import JobStore
from rune_engine.models import EngineHealth, Job, Model

DONE = EngineHealth(version="1", pid=1, busy=False)
Work = Callable[[Job, Report], Awaitable[Model]]


@asynccontextmanager
async def running(jobs: JobStore, scratch: Path, work: Work) -> AsyncIterator[JobRunner]:
    crashes: list[BaseException] = []
    runner = JobRunner(
        jobs,
        {"distill": work},
        capacity={"distill": 1},
        scratch=scratch,
        owner=this_process(),
        on_crash=crashes.append,
    )
    runner.start()
    try:
        yield runner
    finally:
        await runner.stop()
    assert crashes == []


async def ended(jobs: JobStore, job: Job, status: str) -> Job:
    await until(lambda: jobs.get(job.id).status == status, f"the job is {status}")
    return jobs.get(job.id)


async def test_what_may_pass_is_tried_again_and_the_folder_stays_until_the_end(
    jobs: JobStore, tmp_path: Path
) -> None:
    seen: list[int] = []

    async def work(job: Job, _report: Report) -> Model:
        folder = tmp_path / job.id
        folder.mkdir(exist_ok=True)
        seen.append(len(list(folder.iterdir())))
        (folder / f"left by {job.attempt}").touch()
        if job.attempt < 3:
            raise WorkerDiedError("It was killed.")
        return DONE

    async with running(jobs, tmp_path, work):
        done = await ended(jobs, jobs.enqueue("distill", {}), "succeeded")
        assert (done.attempt, done.error, seen) == (3, None, [0, 1, 2])
        await until(lambda: not (tmp_path / done.id).exists(), "its folder is gone")


async def test_what_cannot_pass_is_not_tried_again(jobs: JobStore, tmp_path: Path) -> None:
    async def work(_job: Job, _report: Report) -> Model:
        raise InvalidInputError("Nothing will mend this.")

    async with running(jobs, tmp_path, work):
        failed = await ended(jobs, jobs.enqueue("distill", {}), "failed")
    assert failed.attempt == 1 and failed.error is not None
    assert failed.error["code"] == "invalid_input"


async def test_a_job_that_waits_for_its_retry_keeps_the_runner_busy_and_can_be_cancelled(
    timed: JobStore, tmp_path: Path
) -> None:
    """By a clock that stands, the retry is never due."""

    async def work(job: Job, _report: Report) -> Model:
        (tmp_path / job.id).mkdir()
        raise WorkerDiedError("It was killed.")

    async with running(timed, tmp_path, work) as runner:
        job = timed.enqueue("distill", {})
        runner.wake()
        await until(lambda: timed.get(job.id).message.startswith("Starts again"), "it waits")
        await until(lambda: not runner._running, "nothing runs")
        assert runner.busy and (tmp_path / job.id).exists()
        assert (await runner.cancel(job.id)).status == "cancelled"
        assert not (tmp_path / job.id).exists()
        await until(lambda: not runner.busy, "the runner has nothing left to wait for")


async def test_the_result_of_work_that_lost_its_job_is_discarded(
    timed: JobStore, clock: StandingClock, tmp_path: Path
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(_job: Job, _report: Report) -> Model:
        begun.set()
        await go_on.wait()
        return DONE

    async with running(timed, tmp_path, work) as runner:
        job = timed.enqueue("distill", {})
        await asyncio.wait_for(begun.wait(), 60)
        clock.move(minutes=5)
        assert [taken.id for taken in timed.take_up()] == [job.id]
        other = timed.claim(this_process())
        assert other is not None and other.attempt == 2
        go_on.set()
        await until(lambda: job.id not in runner._running, "the late work is over")
        assert timed.get(job.id) == other
        timed.succeed(other, {})


async def test_a_stopped_runner_gives_its_job_back(jobs: JobStore, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def work(_job: Job, _report: Report) -> Model:
        begun.set()
        await asyncio.Event().wait()
        return DONE

    job = jobs.enqueue("distill", {})
    async with running(jobs, tmp_path, work):
        await asyncio.wait_for(begun.wait(), 60)
    given_back = jobs.get(job.id)
    assert (given_back.status, given_back.attempt, given_back.max_attempts) == ("queued", 1, 4)


async def test_a_step_that_is_done_is_not_done_again(jobs: JobStore, database: Database) -> None:
    done: list[str] = []

    async def step(job: Job, name: str) -> object:
        async def work() -> object:
            done.append(name)
            return {"name": name, "attempt": job.attempt}

        return await Steps(database, job).run(name, work)

    jobs.enqueue("distill", {})
    first = jobs.claim("dead")
    assert first is not None
    assert await step(first, "a") == {"name": "a", "attempt": 1}
    jobs.take_up()
    second = jobs.claim("dead")
    assert second is not None
    assert await step(second, "a") == {"name": "a", "attempt": 1}
    with pytest.raises(StaleAttemptError):
        await step(first, "b")
    assert await step(second, "b") == {"name": "b", "attempt": 2}
    assert done == ["a", "b", "b"]
    jobs.succeed(second, {})
    with database.reading() as session:
        left = session.connection().exec_driver_sql("SELECT count(*) FROM job_steps").scalar()
    assert left == 0
