"""Following a job for as long as its caller waits: progress on, cancellation back.

Knows the engine's client and a way to report; nothing of what the job does.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import anyio

from rune_engine.errors import RuneError
from rune_engine.models import FINISHED, Job
from rune_mcp.results.jobs import failure

if TYPE_CHECKING:
    from rune_engine.client import EngineClient

Report = Callable[[float, float | None, str], Awaitable[None]]
"""`await report(progress, total, message)`; the total is None where nobody knows it."""
_Answer = TypeVar("_Answer")

WAIT_SECONDS = 50.0
"""Default wait for a job: clients commonly give a request up, and so cancel it, after 60."""
LONGEST_POLL_SECONDS = 20.0
SIGN_SECONDS = 2.0
"""Between two signs of life of a call that cannot tell how far it is."""
CANCEL_SECONDS = 5.0
"""How long an ending call waits for the engine to take its cancellation."""


async def run_job(
    client: EngineClient,
    submit: Callable[[], Awaitable[Job]],
    report: Report,
    wait_seconds: float,
) -> Job:
    """Submit a job and follow it until it ends or `wait_seconds` are over.

    Cancelling this call cancels the job in the engine, so the work really stops.

    Raises:
        RuneError: the job failed; the error is the one it failed with.
    """
    await client.health()
    # Shielded, now that the engine runs: a cancellation between the submission and its answer
    # would leave a job that nobody knows of.
    with anyio.CancelScope(shield=True):
        job = await submit()
    try:
        job = await _follow(client, job, report, wait_seconds)
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(CANCEL_SECONDS, shield=True), suppress(RuneError):
            await client.cancel_job(job.id)
        raise
    if job.status == "failed":
        raise failure(job)
    return job


async def _follow(client: EngineClient, job: Job, report: Report, wait_seconds: float) -> Job:
    deadline = time.monotonic() + wait_seconds
    reported = -1.0
    while True:
        # MCP wants every progress above the last; a new message at the same fraction is nudged.
        progress = min(max(job.progress, reported + 1e-6), 1.0)
        if progress > reported:
            reported = progress
            await report(reported, 1.0, job.message or job.status)
        remaining = deadline - time.monotonic()
        while job.status not in FINISHED and remaining > 0:
            seen = job.revision
            timeout = min(remaining, LONGEST_POLL_SECONDS)
            job = await client.wait_job(job.id, after_revision=seen, timeout=timeout)
            remaining = deadline - time.monotonic()
            if job.revision != seen:
                break
        else:
            return job


async def await_with_signs(work: Awaitable[_Answer], report: Report, message: str) -> _Answer:
    """Await what takes an unknown time; reports the seconds that have passed meanwhile.

    Raises:
        RuneError: what `work` raised.
    """
    failed: RuneError | None = None
    async with anyio.create_task_group() as signs:
        signs.start_soon(_give_signs, report, message)
        try:
            answer = await work
        except RuneError as error:
            failed = error
        signs.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return answer


async def _give_signs(report: Report, message: str) -> None:
    began = time.monotonic()
    while True:
        await report(time.monotonic() - began, None, message)
        await anyio.sleep(SIGN_SECONDS)


def share_of(report: Report, number: int, shares: int) -> Report:
    """Reports one of several works that follow each other as one: `number` counts from 0."""

    async def reported(progress: float, total: float | None, message: str) -> None:
        # A little less than its share, so that the next one begins above where it ended.
        done = 0.99 * progress / total if total else 0.0
        await report((number + done) / shares, 1.0, message)

    return reported
