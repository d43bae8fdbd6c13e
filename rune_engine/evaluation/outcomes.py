"""What the base model alone did before on a task: asked once, and not again by every evaluation.

A row follows from its key: the model, how it is run and drawn from, the task's words, the prompt,
and the code that judges. So it may be deleted at any time, and nothing else depends on it. What had
no verdict is not kept. Knows nothing of how tasks are put to a model.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import text

import rune_engine
from rune_engine.database import Database, utc_now
from rune_engine.evaluation.measuring import Keep

_READ = "SELECT verdicts FROM base_outcomes WHERE key = :key"
_WRITE = (
    "INSERT INTO base_outcomes (key, verdicts, created_at) VALUES (:key, :verdicts, :at)"
    " ON CONFLICT (key) DO NOTHING"
)


class Remembered:
    """A job's steps, with what earlier evaluations of the same base model answered.

    Args:
        steps: of the job; what is done now is a step of it.
        run_as: everything beside a step's name that its answer follows from: who runs the model
            and how, and what judges.
    """

    def __init__(self, database: Database, steps: Keep, run_as: str) -> None:
        self._database = database
        self._steps = steps
        self._run_as = run_as

    async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """What the step answered in this job or an earlier one, or what `work` answers now."""
        key = self._key(name)
        known = await asyncio.to_thread(self._read, key)
        if known is not None:
            return known
        verdicts = await self._steps.run(name, work)
        if None not in verdicts:
            await asyncio.to_thread(self._write, key, verdicts)
        return verdicts

    def _key(self, name: str) -> str:
        made_of = json.dumps([rune_engine.__version__, self._run_as, name])
        return hashlib.sha256(made_of.encode()).hexdigest()

    def _read(self, key: str) -> Any:
        with self._database.reading() as session:
            row = session.connection().execute(text(_READ), {"key": key}).scalar()
        return None if row is None else json.loads(row)

    def _write(self, key: str, verdicts: Any) -> None:
        values = {"key": key, "verdicts": json.dumps(verdicts), "at": utc_now()}
        with self._database.writing() as session:
            session.connection().execute(text(_WRITE), values)
