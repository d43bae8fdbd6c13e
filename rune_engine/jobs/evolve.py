"""The `evolve` job: what was measured of a new adapter decides which adapters stay in use.

The decision is an event before it is carried out, so that an engine that dies in between carries
out what was decided, and decides nothing twice. Knows nothing of how adapters are measured.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from rune_engine.errors import TrajectoryNotFoundError
from rune_engine.evaluation.conclusion import outcomes_of, rate
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.events import EventLog
from rune_engine.evolution.compare import Decision, Measured, decide
from rune_engine.jobs.progress import Report
from rune_engine.models import AdapterInfo, EvolveParams, EvolveResult, Job, LifecycleEvent
from rune_engine.registry import AdapterFilter, AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

KEPT, ARCHIVED = "kept", "archived"


class Evolve:
    """Runs `evolve` jobs: one comparison, and what follows from it."""

    def __init__(
        self,
        registry: AdapterRegistry,
        trajectories: TrajectoryStore,
        evaluations: EvaluationStore,
        events: EventLog,
    ) -> None:
        self._registry = registry
        self._trajectories = trajectories
        self._evaluations = evaluations
        self._events = events

    async def __call__(self, job: Job, report: Report) -> EvolveResult:
        params = EvolveParams.model_validate(job.params)
        report(0.0, "comparing what was measured")
        return await asyncio.to_thread(self._evolve, job.id, params.adapter_id)

    def _evolve(self, job_id: str, adapter_id: str) -> EvolveResult:
        decided = self._decided(adapter_id)
        if decided is None:
            self._decide(job_id, self._registry.retrieve_by_id(adapter_id))
            decided = self._decided(adapter_id)
            assert decided is not None
        archive: dict[str, str] = decided.payload["archive"]
        for loser, reason in archive.items():
            self._registry.archive(loser, reason=reason, caused_by=job_id)
        return EvolveResult(
            adapter_id=adapter_id, archived=sorted(archive), reason=decided.payload["reason"]
        )

    def _decided(self, adapter_id: str) -> LifecycleEvent | None:
        return self._events.newest(adapter_id, "consolidation_decided")

    def _decide(self, job_id: str, adapter: AdapterInfo) -> None:
        decision = self._decision(adapter)
        self._events.append(
            "consolidation_decided",
            adapter.id,
            project_id=adapter.project_id,
            caused_by=job_id,
            decision=ARCHIVED if adapter.id in decision.archive else KEPT,
            archive=decision.archive,
            reason=f"Adapter {adapter.id}: {decision.reason}",
            numbers=decision.numbers,
        )

    def _decision(self, adapter: AdapterInfo) -> Decision:
        return decide(
            self._measured(adapter.id, "with_adapter"),
            self._measured(adapter.id, "with_base").outcomes,
            [self._measured(other.id, "with_adapter") for other in self._incumbents(adapter)],
        )

    def _measured(self, adapter_id: str, side: Literal["with_adapter", "with_base"]) -> Measured:
        """The last measurement, without tasks that the adapter was trained on, that have no
        verdict on both sides, or that were forgotten meanwhile."""
        result = self._evaluations.latest(adapter_id)
        learnt = self._registry.learnt_from(adapter_id)
        decided = outcomes_of(result.per_task) if result else {}
        outcomes: dict[str, bool] = {}
        for judged in result.per_task if result else ():
            own = judged.trajectory_id
            if judged.task not in decided or learnt.get(own or "") == "trained":
                continue
            if own is not None and not self._exists(own):
                continue
            outcomes[judged.task] = rate(getattr(judged, side)) == 1.0
        return Measured(adapter_id, outcomes)

    def _exists(self, trajectory_id: str) -> bool:
        try:
            self._trajectories.get(trajectory_id)
        except TrajectoryNotFoundError:
            return False
        return True

    def _incumbents(self, adapter: AdapterInfo) -> list[AdapterInfo]:
        """The other adapters in use that cover the same, made for the same base model."""
        level = adapter.hierarchy_level
        others = self._registry.matching(
            AdapterFilter(
                project_id=adapter.project_id,
                base_model_id=adapter.base_model_id,
                hierarchy_level=level,
                domain=None if level == "project" else adapter.domain,
                task_type=adapter.task_type if level == "task" else None,
            )
        )
        return [other for other in others if other.id != adapter.id]
