"""Following a job on a terminal: its progress while it runs, its error when it fails."""

from __future__ import annotations

import asyncio

from rich.markup import escape
from rich.progress import Progress

from rune_engine.cli.session import err
from rune_engine.client import EngineClient
from rune_engine.errors import RuneError, from_envelope
from rune_engine.models import FINISHED, Job


async def follow(client: EngineClient, job: Job) -> Job:
    """Wait for a job's end and show its progress; Ctrl-C cancels the job.

    Raises:
        RuneError: the job failed, with its own error, or was cancelled.
    """
    try:
        with Progress(console=err, transient=True) as bar:
            line = bar.add_task(escape(job.message[:60]), total=1.0)
            while job.status not in FINISHED:
                job = await client.wait_job(job.id, after_revision=job.revision)
                bar.update(line, completed=job.progress, description=escape(job.message[:60]))
    except asyncio.CancelledError:
        await client.cancel_job(job.id)
        raise
    if job.status == "cancelled":
        raise RuneError(f"Job {job.id} was cancelled.")
    if job.error is not None:
        raise from_envelope(job.error)
    return job
