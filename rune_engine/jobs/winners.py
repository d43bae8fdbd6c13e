"""Stores an adapter that evolution has made, in one transaction with the decision that it won.

With it come the evaluation that it won by, and the job that measures its fitness, which also rests
on other domains' tasks that decide nothing here. Knows nothing of how it was made or judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlmodel import Session

from rune_engine.database import Database
from rune_engine.errors import AdapterAlreadyExistsError
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.jobs.decisions import carry_out
from rune_engine.jobs.store import JobStore
from rune_engine.models import (
    EvaluateParams,
    EvaluateResult,
    EvolutionStep,
    Job,
    LearntRole,
)
from rune_engine.registry import AdapterDraft, AdapterRegistry, AdapterWeights


@dataclass(frozen=True, slots=True)
class Winner:
    """An adapter without a row: `found` is what it was measured to be."""

    draft: AdapterDraft
    weights: AdapterWeights
    learnt_from: Mapping[str, LearntRole]
    found: EvaluateResult


class Winners:
    """Writes what evolution has tried down, won or lost."""

    def __init__(self, database: Database, registry: AdapterRegistry, jobs: JobStore) -> None:
        self._database = database
        self._registry = registry
        self._jobs = jobs
        self._evaluations = EvaluationStore(database)

    def decide(
        self,
        job: Job,
        step: EvolutionStep,
        winner: Winner | None,
        *,
        project_id: str,
        as_of: int,
    ) -> None:
        """Write the decision down and, where there is a winner, store it.

        Raises:
            OutdatedDecisionError: the adapters have changed since `as_of`; nothing was written.
        """

        def decided(session: Session) -> None:
            carry_out(session, step, project_id=project_id, caused_by=job.id, as_of=as_of)
            if winner is not None:
                self._measured(session, job, winner)

        if winner is None:
            with self._database.writing() as session:
                decided(session)
            return
        try:
            self._registry.store(
                winner.draft,
                winner.weights,
                learnt_from=winner.learnt_from,
                caused_by=job.id,
                decided=decided,
            )
        except AdapterAlreadyExistsError:
            # An engine died between the commit and the end of this job.
            self._registry.retrieve_by_id(winner.draft.id)

    def _measured(self, session: Session, job: Job, winner: Winner) -> None:
        adapter_id, project_id = winner.draft.id, winner.draft.project_id
        self._evaluations.add(session, winner.found, project_id=project_id, caused_by=job.id)
        self._jobs.enqueue_in(
            session,
            "evaluate",
            EvaluateParams(adapter_id=adapter_id, base_model=job.params.get("base_model")),
            idempotency_key=f"evaluate:{adapter_id}",
            priority=job.priority,
            project_id=project_id,
        )
