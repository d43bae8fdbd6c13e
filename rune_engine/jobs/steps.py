"""Steps of a job that are done once: what one has answered is kept, and answered again.

For work of many expensive parts, so that a job that was interrupted goes on with the part that it
was at. The outputs go when the job ends.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from rune_engine.database import Database, utc_now
from rune_engine.jobs.records import JobStepRecord, held
from rune_engine.models import Job


class Steps:
    """The steps of one claimed job."""

    def __init__(self, database: Database, job: Job) -> None:
        self._database = database
        self._job = job
        self._doing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """What the step `name` answered before, or what `work` answers now.

        Args:
            name: unique within the job; who asks for the same at the same time waits for it.
            work: its result is JSON-ready. It runs again when it was interrupted.

        Raises:
            StaleAttemptError: the job was taken up by somebody else meanwhile.
        """
        async with self._doing[name]:
            done = await asyncio.to_thread(self._read, name)
            if done is None:
                done = json.dumps(await work())
                await asyncio.to_thread(self._write, name, done)
        return json.loads(done)

    def _read(self, name: str) -> str | None:
        with self._database.reading() as session:
            record = session.get(JobStepRecord, (self._job.id, name))
            return None if record is None else record.output

    def _write(self, name: str, output: str) -> None:
        with self._database.writing() as session:
            held(session, self._job)
            session.add(
                JobStepRecord(job_id=self._job.id, name=name, output=output, created_at=utc_now())
            )
