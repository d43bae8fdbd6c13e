"""Tries a proven adapter on the tasks of the next level, and stores it there if it wins.

An adapter's row is written once, so one that covers more is a new row with the same weights, whose
parent is the old one; both stay in use. Its id follows from the old one's and the level, so however
often this is interrupted there is one. Knows nothing of which adapters to try.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from rune_engine.errors import AdapterAlreadyExistsError
from rune_engine.evaluation.measuring import Verdicts
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.evaluation.tasks import HeldOutTask
from rune_engine.evolution.evidence import Measured, Scope, scope_of
from rune_engine.evolution.plan import Facts
from rune_engine.evolution.promote import promotes, wider
from rune_engine.inference.provider import AdapterRef
from rune_engine.jobs.decisions import carry_out
from rune_engine.jobs.judging import Asked, Judging, scores
from rune_engine.jobs.progress import Report
from rune_engine.jobs.standing import Standings
from rune_engine.jobs.store import JobStore
from rune_engine.models import AdapterInfo, EvaluateParams, EvolutionStep, Job
from rune_engine.registry import AdapterDraft, AdapterRegistry, AdapterWeights

MOST_TASKS = 200


@dataclass(frozen=True, slots=True)
class _Tried:
    """One try: who, where, on what, and what became of it."""

    adapter: AdapterInfo
    ref: AdapterRef
    wider: Scope
    tasks: Sequence[HeldOutTask]
    verdicts: dict[str, Verdicts]
    base: dict[str, Verdicts]
    step: EvolutionStep


class Widening:
    """Carries `try_wider` steps out."""

    def __init__(
        self,
        registry: AdapterRegistry,
        standings: Standings,
        judging: Judging,
        evaluations: EvaluationStore,
        jobs: JobStore,
    ) -> None:
        self._registry = registry
        self._standings = standings
        self._judging = judging
        self._evaluations = evaluations
        self._jobs = jobs

    async def __call__(
        self, job: Job, step: EvolutionStep, facts: Facts, report: Report
    ) -> EvolutionStep | None:
        """What was decided; None where another base model is configured, or nothing to judge by.

        Raises:
            OutdatedDecisionError: the adapters have changed while they were measured.
        """
        adapter = await asyncio.to_thread(self._registry.retrieve_by_id, step.adapter_ids[0])
        if adapter.base_model_id != await asyncio.to_thread(self._judging.base_model_id):
            return None
        tried = await self._try(job, adapter, step, facts, report)
        if tried is None:
            return None
        await asyncio.to_thread(self._keep, job, tried, facts)
        return tried.step

    async def _try(
        self, job: Job, adapter: AdapterInfo, step: EvolutionStep, facts: Facts, report: Report
    ) -> _Tried | None:
        above = wider(scope_of(adapter))
        assert above is not None
        ids = await asyncio.to_thread(
            self._standings.held_out,
            facts.project_id,
            above,
            step.adapter_ids,
            limit=MOST_TASKS,
        )
        tasks = await self._judging.tasks_of(ids)
        if not tasks:
            return None
        refs = [
            await asyncio.to_thread(self._registry.verified_ref, each) for each in step.adapter_ids
        ]
        found = await self._judging.verdicts(job, tasks, [None, *refs], Asked(), report)
        base, own, *others = found
        made = promotes(
            Measured(adapter.id, scores(own)),
            scores(base),
            [
                Measured(name, scores(each))
                for name, each in zip(step.adapter_ids[1:], others, strict=True)
            ],
        )
        promoted = bool(made.numbers["promoted"])
        decided = EvolutionStep(
            operation="promote",
            decision="promoted" if promoted else "not_promoted",
            adapter_ids=step.adapter_ids,
            stored=[promoted_id(adapter.id, above)] if promoted else [],
            reason=f"Adapter {adapter.id}: {made.reason}",
            numbers={**made.numbers, "level": above.level, "held_out": facts.held_out},
        )
        return _Tried(adapter, refs[0], above, tasks, own, base, decided)

    def _keep(self, job: Job, tried: _Tried, facts: Facts) -> None:
        """Write the decision down and, if it won, store the adapter's new row with it."""

        def decided(session: Session) -> None:
            carry_out(
                session,
                tried.step,
                project_id=facts.project_id,
                caused_by=job.id,
                as_of=facts.as_of,
            )

        if not tried.step.stored:
            with self._evaluations.writing() as session:
                decided(session)
            return
        new_id = tried.step.stored[0]

        def decided_and_measured(session: Session) -> None:
            decided(session)
            row = self._judging.row(
                new_id,
                tried.ref,
                tried.tasks,
                tried.verdicts,
                tried.base,
                Asked(),
                evaluation_id=f"{new_id}-promoted",
            )
            self._evaluations.add(session, row, project_id=facts.project_id, caused_by=job.id)
            # Fitness also rests on other domains' tasks, which decide nothing here.
            self._jobs.enqueue_in(
                session,
                "evaluate",
                EvaluateParams(adapter_id=new_id),
                idempotency_key=f"evaluate:{new_id}",
                priority=job.priority,
                project_id=facts.project_id,
            )

        try:
            self._registry.store(
                _draft(tried.adapter, new_id, tried.wider),
                _weights(tried.ref),
                learnt_from=self._registry.learnt_from(tried.adapter.id),
                caused_by=job.id,
                decided=decided_and_measured,
            )
        except AdapterAlreadyExistsError:
            # An engine died between the commit and the end of this job.
            self._registry.retrieve_by_id(new_id)


def promoted_id(adapter_id: str, scope: Scope) -> str:
    """The one id that an adapter's promotion to a level can have."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"rune:promote:{adapter_id}:{scope.level}"))


def _draft(adapter: AdapterInfo, new_id: str, scope: Scope) -> AdapterDraft:
    return AdapterDraft(
        id=new_id,
        project_id=adapter.project_id,
        base_model_id=adapter.base_model_id,
        session_id=adapter.session_id,
        source="evolution",
        task_type=adapter.task_type,
        domain=adapter.domain,
        hierarchy_level=scope.level,
        parent_ids=[adapter.id],
        training_task_hash=adapter.training_task_hash,
        agent_id=adapter.agent_id,
    )


def _weights(ref: AdapterRef) -> AdapterWeights:
    config = json.loads((ref.path / "adapter_config.json").read_bytes())
    return AdapterWeights(safetensors=ref.path / "adapter_model.safetensors", config=config)
