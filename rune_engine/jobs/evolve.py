"""The `evolve` job: what was measured decides which adapters stay in use, and which cover more.

Of one new adapter: whether it helps, and whose place it takes. Of a whole project: what `plan`
says. Every decision is an event in one transaction with what follows from it; one whose facts have
changed meanwhile is made again. So an engine that dies anywhere leaves nothing half done, and the
next one decides by what is stored. Knows nothing of how adapters are merged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlmodel import Session

from rune_engine import events
from rune_engine.config import EvolutionSettings
from rune_engine.database import Database
from rune_engine.errors import OutdatedDecisionError
from rune_engine.evolution.compare import Decision, decide
from rune_engine.evolution.plan import Facts, plan
from rune_engine.jobs.decisions import carry_out, with_refits
from rune_engine.jobs.progress import Report
from rune_engine.jobs.similarity import Similarities
from rune_engine.jobs.standing import Standings
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.widening import Widening
from rune_engine.models import (
    ConsolidateParams,
    EvolutionPlan,
    EvolutionStep,
    EvolveParams,
    EvolveResult,
    Job,
    LifecycleEvent,
)
from rune_engine.registry import AdapterRegistry, lifecycle

KEPT, ARCHIVED = "kept", "archived"
MOST_ROUNDS = 20
"""Plans that one job carries out: each promotion, and each change by others, asks for another."""


class Evolve:
    """Runs `evolve` jobs, and says what one would do."""

    def __init__(
        self,
        settings: EvolutionSettings,
        database: Database,
        *,
        registry: AdapterRegistry,
        jobs: JobStore,
        widening: Widening | None = None,
        similarities: Similarities | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._registry = registry
        self._jobs = jobs
        self._standings = Standings(database)
        self._widening = widening
        self._similarities = similarities

    async def __call__(self, job: Job, report: Report) -> EvolveResult:
        params = EvolveParams.model_validate(job.params)
        report(0.0, "comparing what was measured")
        one = EvolveResult(archived=[], reason="")
        if params.adapter_id is not None:
            one = await asyncio.to_thread(self._evolve_one, job.id, params.adapter_id)
        if params.project_id is None:
            return one
        return _both(one, await self._evolve_project(job, params.project_id, report))

    async def plan(self, project_id: str) -> EvolutionPlan:
        """What a job would decide of a project now; changes nothing."""
        _, steps = await self._look(project_id)
        return EvolutionPlan(project_id=project_id, steps=steps)

    # --- one new adapter ------------------------------------------------------------------------

    def _evolve_one(self, job_id: str, adapter_id: str) -> EvolveResult:
        with self._database.writing() as session:
            # The write lock is held, so what is read now is what is decided by.
            decided = events.newest(session, adapter_id, "consolidation_decided")
            if decided is None:
                decided = self._decide(session, job_id, adapter_id)
            archive: dict[str, str] = decided.payload["archive"]
            for loser, reason in archive.items():
                if not _is_back(session, loser, decided):
                    lifecycle.archive(
                        session, loser, reason=reason, caused_by=job_id, decision=decided.seq
                    )
        return EvolveResult(
            adapter_id=adapter_id, archived=sorted(archive), reason=decided.payload["reason"]
        )

    def _decide(self, session: Session, job_id: str, adapter_id: str) -> LifecycleEvent:
        decision = self._decision(adapter_id)
        archive = with_refits(session, decision.archive)
        events.append(
            session,
            "consolidation_decided",
            adapter_id,
            project_id=lifecycle.get(session, adapter_id).project_id,
            caused_by=job_id,
            decision=ARCHIVED if adapter_id in decision.archive else KEPT,
            archive=archive,
            reason=f"Adapter {adapter_id}: {decision.reason}",
            numbers=decision.numbers,
        )
        decided = events.newest(session, adapter_id, "consolidation_decided")
        assert decided is not None
        return decided

    def _decision(self, adapter_id: str) -> Decision:
        project_id = self._registry.retrieve_by_id(adapter_id).project_id
        (new,), _ = self._standings.of([adapter_id])
        others = self._standings.facts(project_id).standings
        rivals = [
            each.measured
            for each in others
            if each.scope == new.scope and each.adapter_id != adapter_id
        ]
        return decide(new.measured, new.measured.base, rivals)

    # --- a project ------------------------------------------------------------------------------

    async def _evolve_project(self, job: Job, project_id: str, report: Report) -> EvolveResult:
        done: list[EvolutionStep] = []
        for _ in range(MOST_ROUNDS):
            facts, steps = await self._look(project_id)
            left = [step for step in steps if not _was_tried(step, done)]
            if not left:
                break
            done += await self._take(job, facts, left, report)
        return EvolveResult(
            project_id=project_id,
            archived=sorted({each for step in done for each in step.archive}),
            stored=[each for step in done for each in step.stored],
            reason=" ".join(step.reason for step in done) or "Nothing asks for a change.",
            steps=done,
        )

    async def _look(self, project_id: str) -> tuple[Facts, list[EvolutionStep]]:
        """What is known, and what follows; similarities are asked for only where they decide."""
        facts = await asyncio.to_thread(self._standings.facts, project_id)
        wanted: list[Sequence[str]] = []
        now = datetime.now(UTC)
        steps = plan(facts, self._settings, now, lambda ids: _noted(wanted, ids))
        if not wanted or self._similarities is None:
            return facts, steps
        found: dict[frozenset[str], float] = {}
        for ids in wanted:
            found |= await self._similarities(ids)
        return facts, plan(facts, self._settings, now, lambda _: found)

    async def _take(
        self, job: Job, facts: Facts, steps: Sequence[EvolutionStep], report: Report
    ) -> list[EvolutionStep]:
        """Carry steps out, up to the first that asks for another look."""
        done: list[EvolutionStep] = []
        for step in steps:
            try:
                found = await self._take_one(job, facts, step, report)
            except OutdatedDecisionError:
                return done
            done.append(found)
            if found.stored:
                return done
        return done

    async def _take_one(
        self, job: Job, facts: Facts, step: EvolutionStep, report: Report
    ) -> EvolutionStep:
        if step.decision == "try_wider":
            if self._widening is None:
                return step
            return await self._widening(job, step, facts, report) or step
        await asyncio.to_thread(self._carry_out, job, facts, step)
        return step

    def _carry_out(self, job: Job, facts: Facts, step: EvolutionStep) -> None:
        with self._database.writing() as session:
            carry_out(
                session,
                step,
                project_id=facts.project_id,
                caused_by=job.id,
                as_of=facts.as_of,
            )
            if step.decision == "try_together":
                self._jobs.enqueue_in(
                    session,
                    "consolidate",
                    ConsolidateParams(adapter_ids=step.adapter_ids),
                    idempotency_key=consolidate_key(step.adapter_ids),
                    priority=job.priority,
                    project_id=facts.project_id,
                )


def _both(one: EvolveResult, project: EvolveResult) -> EvolveResult:
    return EvolveResult(
        adapter_id=one.adapter_id,
        project_id=project.project_id,
        archived=sorted({*one.archived, *project.archived}),
        stored=project.stored,
        reason=f"{one.reason} {project.reason}".strip(),
        steps=project.steps,
    )


def consolidate_key(adapter_ids: Sequence[str]) -> str:
    """The same adapters are tried together once, whoever asks."""
    return f"consolidate:{':'.join(sorted(adapter_ids))}"


def _was_tried(step: EvolutionStep, done: Sequence[EvolutionStep]) -> bool:
    """Whether this job has done it: what was tried is not tried again, whatever came of it."""
    return any(
        each.operation == step.operation and each.adapter_ids == step.adapter_ids for each in done
    )


def _noted(wanted: list[Sequence[str]], ids: Sequence[str]) -> dict[frozenset[str], float]:
    wanted.append(ids)
    return {}


def _is_back(session: Session, adapter_id: str, decided: LifecycleEvent) -> bool:
    """Whether somebody has put an adapter in use again after it was decided that it goes."""
    last = events.newest(session, adapter_id, "adapter_restored")
    return last is not None and last.seq > decided.seq
