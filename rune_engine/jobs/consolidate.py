"""The `consolidate` job: several adapters become one, if that one beats them.

A candidate is made in the job's folder and measured there, beside each parent and the base model,
on all held-out tasks of all parents taken together; only a winner gets a row, in one transaction
with the decision and with its parents' leaving. What is decided is decided once. Knows nothing of
how adapters are merged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rune_engine.config import RuneConfig
from rune_engine.evaluation.measuring import Verdicts
from rune_engine.evaluation.tasks import HeldOutTask
from rune_engine.evolution.consolidate import accepts, joined
from rune_engine.evolution.evidence import Decision, Measured, Scope, scope_of
from rune_engine.jobs.candidates import Candidate
from rune_engine.jobs.judging import Asked, Judging, scores
from rune_engine.jobs.lease import AcceleratorLease
from rune_engine.jobs.merging import Merging
from rune_engine.jobs.progress import Report
from rune_engine.jobs.standing import Standings
from rune_engine.jobs.submission import check_consolidate
from rune_engine.jobs.winners import Winner, Winners
from rune_engine.models import AdapterInfo, ConsolidateParams, ConsolidateResult, EvolutionStep, Job
from rune_engine.models.merging import MergeSettings
from rune_engine.registry import AdapterDraft, AdapterRegistry

_MERGED_AT = 0.5


@dataclass(frozen=True, slots=True)
class _Judged:
    """A candidate, what it was judged by, and what became of it."""

    candidate: Candidate
    tasks: Sequence[HeldOutTask]
    verdicts: Mapping[str, Verdicts]
    base: Mapping[str, Verdicts]
    decision: Decision
    as_of: int

    @property
    def won(self) -> bool:
        return bool(self.decision.numbers["consolidated"])


class Consolidate:
    """Runs `consolidate` jobs in `config.jobs_path / job.id`; the runner removes that folder."""

    def __init__(
        self,
        config: RuneConfig,
        *,
        registry: AdapterRegistry,
        standings: Standings,
        merging: Merging,
        judging: Judging,
        winners: Winners,
        lease: AcceleratorLease,
    ) -> None:
        self._config = config
        self._registry = registry
        self._standings = standings
        self._merging = merging
        self._judging = judging
        self._winners = winners
        self._lease = lease

    async def __call__(self, job: Job, report: Report) -> ConsolidateResult:
        params = ConsolidateParams.model_validate(job.params)
        if (before := await asyncio.to_thread(self._decided, job.id)) is not None:
            return before
        base_model_id = await asyncio.to_thread(self._judging.base_model_id, params.base_model)
        parents = await asyncio.to_thread(check_consolidate, params, base_model_id, self._registry)
        tasks, as_of = await asyncio.to_thread(self._tasks, params, parents)
        candidate = await self._merge(job, params, parents, tasks, report)
        judged = await self._judge(job, params, parents, candidate, tasks, as_of, report)
        return await asyncio.to_thread(self._keep, job, params, parents, judged)

    # --- making and measuring --------------------------------------------------------------------

    def _tasks(
        self, params: ConsolidateParams, parents: Sequence[AdapterInfo]
    ) -> tuple[list[HeldOutTask], int]:
        """All held-out tasks of all parents, without what one of them was trained on; and the last
        event of then."""
        _, as_of = self._standings.of(params.adapter_ids)
        project_id = parents[0].project_id
        found: dict[str, HeldOutTask] = {}
        for parent in parents:
            ids = self._standings.held_out(
                project_id, scope_of(parent), params.adapter_ids, limit=params.max_tasks
            )
            found |= {task.task: task for task in self._judging.tasks(ids)}
        return list(found.values())[: params.max_tasks], as_of

    async def _merge(
        self,
        job: Job,
        params: ConsolidateParams,
        parents: Sequence[AdapterInfo],
        tasks: Sequence[HeldOutTask],
        report: Report,
    ) -> Candidate:
        polite = job.priority < 0
        settings = MergeSettings(
            method=params.method, seed=params.seed, base_model=params.base_model
        )
        async with self._lease.training(job.id, report, polite=polite):
            return await self._merging.merge(
                job.id,
                parents,
                settings,
                self._config.jobs_path / job.id,
                lambda done, what: report(done * _MERGED_AT, what),
                leave_out=[str(task.trajectory_id) for task in tasks],
                polite=polite,
            )

    async def _judge(
        self,
        job: Job,
        params: ConsolidateParams,
        parents: Sequence[AdapterInfo],
        candidate: Candidate,
        tasks: Sequence[HeldOutTask],
        as_of: int,
        report: Report,
    ) -> _Judged:
        refs = [await asyncio.to_thread(self._registry.verified_ref, each.id) for each in parents]
        base, own, *others = await self._judging.verdicts(
            job,
            tasks,
            [None, candidate.ref, *refs],
            _asked(params),
            lambda done, what: report(_MERGED_AT + done * (1 - _MERGED_AT), what),
        )
        measured = [
            Measured(each.id, scores(found), each.created_at)
            for each, found in zip(parents, others, strict=True)
        ]
        places = await asyncio.to_thread(self._standings.places, tasks)
        routed = _routed(measured, [scope_of(each) for each in parents], places)
        decision = accepts(Measured(candidate.ref.id, scores(own)), scores(base), measured, routed)
        return _Judged(candidate, tasks, own, base, decision, as_of)

    # --- deciding --------------------------------------------------------------------------------

    def _decided(self, job_id: str) -> ConsolidateResult | None:
        """What an engine decided in this job before it died."""
        event = self._standings.decision_of(job_id)
        return None if event is None else _result(EvolutionStep.model_validate(event))

    def _keep(
        self,
        job: Job,
        params: ConsolidateParams,
        parents: Sequence[AdapterInfo],
        judged: _Judged,
    ) -> ConsolidateResult:
        """Write the decision down; a winner is stored with it, and its parents go."""
        step = _step(params, judged)
        winner = self._winner(job, params, parents, judged) if judged.won else None
        self._winners.decide(
            job, step, winner, project_id=parents[0].project_id, as_of=judged.as_of
        )
        return _result(step)

    def _winner(
        self,
        job: Job,
        params: ConsolidateParams,
        parents: Sequence[AdapterInfo],
        judged: _Judged,
    ) -> Winner:
        candidate = judged.candidate
        found = self._judging.row(
            candidate.ref.id,
            candidate.ref,
            judged.tasks,
            judged.verdicts,
            judged.base,
            _asked(params),
            evaluation_id=f"{job.id}-candidate",
        )
        draft = _draft(candidate.ref.id, parents)
        return Winner(draft, candidate.weights(), candidate.learnt_from, found)


def _step(params: ConsolidateParams, judged: _Judged) -> EvolutionStep:
    """What was decided of a candidate."""
    merged = judged.candidate.result
    return EvolutionStep(
        operation="consolidate",
        decision="consolidated" if judged.won else "not_consolidated",
        adapter_ids=params.adapter_ids,
        archive=judged.decision.archive,
        stored=[judged.candidate.ref.id] if judged.won else [],
        reason=f"Adapters {', '.join(params.adapter_ids)}: {judged.decision.reason}",
        numbers={**judged.decision.numbers, "method": merged.method, "rank": merged.rank},
    )


def _asked(params: ConsolidateParams) -> Asked:
    return Asked(params.base_model, params.seed, params.max_tokens)


def _routed(
    parents: Sequence[Measured],
    scopes: Sequence[Scope],
    places: Mapping[str, tuple[str, str]],
) -> dict[str, float]:
    """Each task's score with the parent that covers it most closely; of equals the best one."""
    width = {"task": 0, "domain": 1, "project": 2}
    found: dict[str, float] = {}
    for task, (domain, task_type) in places.items():
        covering = [
            (width[scope.level], -sum(parent.outcomes.values()), parent.outcomes[task])
            for parent, scope in zip(parents, scopes, strict=True)
            if scope.covers(domain, task_type) and task in parent.outcomes
        ]
        if covering:
            found[task] = min(covering, key=lambda each: each[:2])[2]
    return found


def _draft(new_id: str, parents: Sequence[AdapterInfo]) -> AdapterDraft:
    scope = joined([scope_of(each) for each in parents])
    newest = max(parents, key=lambda each: each.created_at)
    return AdapterDraft(
        id=new_id,
        project_id=newest.project_id,
        base_model_id=newest.base_model_id,
        session_id=newest.session_id,
        source="evolution",
        task_type=scope.task_type or newest.task_type,
        domain=scope.domain or newest.domain,
        hierarchy_level=scope.level,
        parent_ids=[each.id for each in parents],
    )


def _result(step: EvolutionStep) -> ConsolidateResult:
    return ConsolidateResult(
        adapter_id=step.stored[0] if step.stored else None,
        archived=sorted(step.archive),
        method=str(step.numbers["method"]),
        reason=step.reason,
        numbers=step.numbers,
    )
