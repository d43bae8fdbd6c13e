"""Acts on the policy, inside every engine: asks for distillations, and hands their results on.

Each action is one transaction: a job, and the event that says why. So an engine that dies at any
point leaves either nothing or all of it, and the next one decides again from what is stored.
Knows nothing of how jobs do their work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime

from rune_engine import events
from rune_engine.config import RuneConfig
from rune_engine.consolidation.facts import FAST, TRAINED, read_asked, read_facts
from rune_engine.consolidation.following import missing_steps, superseded
from rune_engine.consolidation.guarding import Guard
from rune_engine.consolidation.policy import (
    FEWEST_KEPT_BACK,
    FEWEST_TRAINED,
    Agenda,
    Due,
    agenda,
)
from rune_engine.consolidation.quiet import Wait, look_around, reason_to_wait
from rune_engine.consolidation.words import due_line, resting_line, why
from rune_engine.database import Database
from rune_engine.errors import (
    BaseModelCorruptedError,
    BaseModelNotFoundError,
    MissingExtraError,
    StorageError,
)
from rune_engine.extras import require
from rune_engine.jobs.methods import has_fast_method
from rune_engine.jobs.store import JobStore
from rune_engine.model_store.resolve import resolve_trainable
from rune_engine.models import ConsolidationStatus, DistillParams, JobKind
from rune_engine.registry import lifecycle

log = logging.getLogger(__name__)

PRIORITY = -10
"""Below what any user asks for."""
MAX_ATTEMPTS = 10
"""Laptops are shut more often than a user's own job is interrupted."""
FAST_ATTEMPTS = 2
"""The next trajectory asks for another one anyway."""

_RECHECK_SECONDS = 30.0
_NOTHING_DUE_SECONDS = 3600.0
_AFTER_QUIET_SECONDS = 0.05


class Consolidator:
    """Watches for what is due and for the moment to do it; belongs to one event loop.

    Args:
        kinds: of jobs that this engine can do.
        quiet_seconds: how long ago somebody last asked the engine for something.
        queued: told that a job was queued.
        on_crash: told of an error that is not the database's being full or away.
    """

    def __init__(
        self,
        config: RuneConfig,
        database: Database,
        jobs: JobStore,
        *,
        kinds: Collection[JobKind],
        quiet_seconds: Callable[[], float],
        queued: Callable[[], None],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._config = config
        self._settings = config.consolidation
        self._database = database
        self._jobs = jobs
        self._kinds = kinds
        self._quiet_seconds = quiet_seconds
        self._queued = queued
        self._on_crash = on_crash
        self._wake = asyncio.Event()
        self._guard = Guard(database, config.evolution)
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="consolidation")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop watching; what was asked for stays asked for."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            # Not cancelled: a look that has begun ends with its transaction.
            await asyncio.wait([self._task])

    def wake(self, tried: str | None = None) -> None:
        """Say that something was recorded, or that a job has ended; from any thread.

        Args:
            tried: the project that the local model has tried a task of.
        """
        if tried is not None:
            self._guard.look_at(tried)
        self._loop.call_soon_threadsafe(self._wake.set)

    async def seconds_until_due(self) -> float | None:
        """How long the engine should go on for something that is due; None when it need not."""
        return await asyncio.to_thread(self._seconds_until_due)

    def status(self, *, stays: bool) -> ConsolidationStatus:
        """What it would do, and what keeps it from it; reads the database."""
        found = self._agenda()
        return ConsolidationStatus(
            enabled=self._settings.enabled,
            stays=stays,
            state=self._state(found),
            due=[due_line(due) for due in found.due],
            resting=[resting_line(resting) for resting in found.resting],
        )

    # --- watching -------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                pause = await asyncio.to_thread(self._look)
            except StorageError as error:
                # The stores say so to every caller, too; here nobody waits for an answer.
                log.warning("Consolidation waits: %s", error)
                pause = _RECHECK_SECONDS
            if not self._stopping:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_crash(error)

    def _look(self) -> float:
        """Do the next thing, if there is one and it is time; the seconds until the next look."""
        self._guard()
        if not self._settings.enabled:
            return _NOTHING_DUE_SECONDS
        left = self._hand_on()
        waits = self._waits()
        pauses = [wait.seconds for wait in waits.values() if wait and wait.seconds is not None]
        soon = min(pauses, default=_RECHECK_SECONDS) + _AFTER_QUIET_SECONDS
        if len(pauses) == len(waits):
            return soon
        found = self._agenda()
        self._tell_of_resting(found)
        ready = [due for due in found.due if waits[due.fast] is None]
        if ready:
            self._ask_for(ready[0])
            self._loop.call_soon_threadsafe(self._queued)
        return soon if found.due or left or pauses else _NOTHING_DUE_SECONDS

    # --- acting ---------------------------------------------------------------------------------

    def _ask_for(self, due: Due) -> None:
        """Queue the distillation, with the event that tells of it."""
        params = DistillParams(
            project_id=due.scope.project_id,
            domain=due.scope.domain,
            task_type=due.scope.task_type,
            trajectory_ids=list(due.trained),
            kept_back_ids=list(due.kept_back),
            base_model=self._config.base_model,
            method="auto" if due.fast else "direct",
        )
        with self._database.writing() as session:
            job = self._jobs.enqueue_in(
                session,
                "distill",
                params,
                idempotency_key=due.key,
                priority=PRIORITY,
                max_attempts=FAST_ATTEMPTS if due.fast else MAX_ATTEMPTS,
            )
            if events.newest(session, job.id, "consolidation_decided") is not None:
                return
            events.append(
                session,
                "consolidation_decided",
                job.id,
                project_id=due.scope.project_id,
                caused_by="schedule",
                decision="distill",
                scope=str(due.scope),
                level=due.scope.level,
                base_model_id=due.base_model_id,
                way=FAST if due.fast else TRAINED,
                trained=len(due.trained),
                kept_back=len(due.kept_back),
                new=due.new,
                reason=why(due),
            )

    def _hand_on(self) -> bool:
        """Do what follows on distillations that have ended; whether something waits for quiet."""
        with self._database.reading() as session:
            asked = read_asked(session)
            model = self._config.base_model
            steps = missing_steps(session, asked, self._kinds, self._settings, model)
            old = superseded(session, asked)
        for each in old:
            with self._database.writing() as writing:
                reason = f"Adapter {each.by} took its place, with what was recorded since."
                lifecycle.archive(writing, each.adapter_id, reason=reason, caused_by=each.job_id)
        quiet = any(step.waits for step in steps) and self._waits()[False] is None
        begun = [step for step in steps if quiet or not step.waits]
        for step in begun:
            self._jobs.enqueue(
                step.kind,
                step.params,
                idempotency_key=step.key,
                priority=PRIORITY,
                max_attempts=MAX_ATTEMPTS,
                project_id=step.project_id,
            )
        if begun:
            self._loop.call_soon_threadsafe(self._queued)
        return len(begun) < len(steps)

    def _tell_of_resting(self, found: Agenda) -> None:
        for resting in found.resting:
            failure = resting.failure
            with self._database.writing() as session:
                last = events.newest(session, failure.job_id, "consolidation_decided")
                if last is not None and last.payload["decision"] == "skip":
                    continue
                events.append(
                    session,
                    "consolidation_decided",
                    failure.job_id,
                    project_id=failure.scope.project_id,
                    caused_by=failure.job_id,
                    decision="skip",
                    scope=str(failure.scope),
                    until=resting.until.isoformat(timespec="seconds"),
                    reason=resting_line(resting),
                )

    # --- looking --------------------------------------------------------------------------------

    def _agenda(self) -> Agenda:
        """What is due; nothing where no distillation could work."""
        if self._impossible() is not None:
            return Agenda()
        model = resolve_trainable(self._config.base_model, self._config)
        has_fast = self._settings.fast and has_fast_method(model)
        fewest = min(self._settings.min_trajectories, FEWEST_KEPT_BACK + FEWEST_TRAINED)
        with self._database.reading() as session:
            facts = read_facts(session, model.id, fewest, has_fast=has_fast)
        return agenda(facts, self._settings, datetime.now(UTC))

    def _impossible(self) -> str | None:
        """Why this engine cannot distill at all."""
        try:
            resolve_trainable(self._config.base_model, self._config)
            require("torch", "Distilling an adapter")
        except (BaseModelNotFoundError, BaseModelCorruptedError, MissingExtraError) as error:
            return f"cannot distill: {error.message}"
        return None

    def _waits(self) -> dict[bool, Wait | None]:
        """What keeps it from fast updates, and what from trainings."""
        kinds = tuple(job.kind for job in self._jobs.unfinished())
        around = look_around(self._quiet_seconds(), kinds)
        return {fast: reason_to_wait(around, self._settings, fast=fast) for fast in (True, False)}

    def _seconds_until_due(self) -> float | None:
        if not self._settings.enabled:
            return None
        if self._jobs.unfinished():
            return 0.0
        # Other reasons than quiet may last for days; the next engine decides again.
        left = {fast: 0.0 if wait is None else wait.seconds for fast, wait in self._waits().items()}
        if all(seconds is None for seconds in left.values()):
            return None
        due = [left[due.fast] for due in self._agenda().due]
        return min((seconds for seconds in due if seconds is not None), default=None)

    def _state(self, found: Agenda) -> str:
        if not self._settings.enabled:
            return "switched off"
        if (impossible := self._impossible()) is not None:
            return impossible
        if not found.due:
            return "idle: nothing is due"
        wait = self._waits()[found.due[0].fast]
        return "about to begin" if wait is None else wait.reason
