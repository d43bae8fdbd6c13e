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

from rune_engine.evaluation.measuring import Verdicts
from rune_engine.evaluation.tasks import HeldOutTask
from rune_engine.evolution.evidence import Decision, Measured, Scope, scope_of
from rune_engine.evolution.plan import Facts
from rune_engine.evolution.promote import promotes, wider
from rune_engine.inference.provider import AdapterRef
from rune_engine.jobs.judging import Asked, Judging, scores
from rune_engine.jobs.progress import Report
from rune_engine.jobs.standing import Standings
from rune_engine.jobs.winners import Winner, Winners
from rune_engine.models import AdapterInfo, EvolutionStep, Job
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
        winners: Winners,
    ) -> None:
        self._registry = registry
        self._standings = standings
        self._judging = judging
        self._winners = winners

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
        tasks = await self._tasks(facts.project_id, above, step.adapter_ids)
        if not tasks:
            return None
        refs = [
            await asyncio.to_thread(self._registry.verified_ref, each) for each in step.adapter_ids
        ]
        found = await self._judging.verdicts(job, tasks, [None, *refs], Asked(), report)
        base, own = found[:2]
        names = zip(step.adapter_ids[1:], found[2:], strict=True)
        made = promotes(
            Measured(adapter.id, scores(own)),
            scores(base),
            [Measured(name, scores(each)) for name, each in names],
        )
        decided = _step(step, above, made, facts)
        return _Tried(adapter, refs[0], above, tasks, own, base, decided)

    async def _tasks(
        self, project_id: str, scope: Scope, adapter_ids: Sequence[str]
    ) -> list[HeldOutTask]:
        """The scope's held-out tasks, without what one of these adapters was trained on."""
        ids = await asyncio.to_thread(
            self._standings.held_out, project_id, scope, adapter_ids, limit=MOST_TASKS
        )
        return await self._judging.tasks_of(ids)

    def _keep(self, job: Job, tried: _Tried, facts: Facts) -> None:
        """Write the decision down and, if it won, store the adapter's new row with it."""
        winner = self._winner(tried, tried.step.stored[0]) if tried.step.stored else None
        self._winners.decide(
            job, tried.step, winner, project_id=facts.project_id, as_of=facts.as_of
        )

    def _winner(self, tried: _Tried, new_id: str) -> Winner:
        found = self._judging.row(
            new_id,
            tried.ref,
            tried.tasks,
            tried.verdicts,
            tried.base,
            Asked(),
            evaluation_id=f"{new_id}-promoted",
        )
        learnt_from = self._registry.learnt_from(tried.adapter.id)
        draft = _draft(tried.adapter, new_id, tried.wider)
        return Winner(draft, _weights(tried.ref), learnt_from, found)


def _step(step: EvolutionStep, above: Scope, made: Decision, facts: Facts) -> EvolutionStep:
    """What was decided of a try."""
    promoted, adapter_id = bool(made.numbers["promoted"]), step.adapter_ids[0]
    return EvolutionStep(
        operation="promote",
        decision="promoted" if promoted else "not_promoted",
        adapter_ids=step.adapter_ids,
        stored=[promoted_id(adapter_id, above)] if promoted else [],
        reason=f"Adapter {adapter_id}: {made.reason}",
        numbers={**made.numbers, "level": above.level, "held_out": facts.held_out},
    )


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
