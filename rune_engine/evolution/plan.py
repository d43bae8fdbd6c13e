"""What follows for a whole project from all that is known of it, as steps that change nothing yet.

One pure function: the same facts give the same plan, so what a dry run prints is what a run does.
Knows no database; the weights' similarity is asked for only where it could decide something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rune_engine.config import EvolutionSettings
from rune_engine.evolution.consolidate import agreeing, alike
from rune_engine.evolution.evidence import Decision, Measured, Scope, beats, beside
from rune_engine.evolution.guard import NONE, Outcomes, judge
from rune_engine.evolution.promote import Widening, widenings
from rune_engine.evolution.prune import Kept, prune
from rune_engine.evolution.redundant import redundant
from rune_engine.evolution.tournament import tournament
from rune_engine.models import EvolutionDecision, EvolutionOperation, EvolutionStep

Similarities = Callable[[Sequence[str]], Mapping[frozenset[str], float]]
"""The cosines of some adapters' weight deltas, by pair; without the pairs that have none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """All that evolution knows of one adapter in use."""

    measured: Measured
    scope: Scope
    weights: str
    last_used: str = ""
    fitness: float | None = None
    live: Outcomes = NONE
    """First attempts at live tasks that it was loaded for."""
    without: Outcomes = NONE
    """Those of the base model alone, on tasks of its scope."""
    stands_by: Measured | None = None
    """Of a refit: with the scores of what it is a refit of, by which it is served."""

    @property
    def adapter_id(self) -> str:
        return self.measured.adapter_id


@dataclass(frozen=True, slots=True)
class Facts:
    """All that `plan` judges from; `as_of` is the last event that they include."""

    project_id: str
    standings: Sequence[Standing]
    as_of: int = 0
    refused: frozenset[tuple[str, str]] = frozenset()
    """Promotions that were decided on before: an adapter and a level."""
    tried: frozenset[frozenset[str]] = frozenset()
    """Pairs that somebody tried to make one of before."""
    held_out: int = 0
    """Trajectories that the project keeps for judging."""


def plan(
    facts: Facts,
    settings: EvolutionSettings,
    now: datetime,
    similarities: Similarities = lambda _: {},
) -> list[EvolutionStep]:
    """The steps to take, in their order: each supposes that the ones before it were taken."""
    left, steps = list(facts.standings), guarded(facts.standings, settings)
    left = _left(left, steps)
    for scope in sorted({each.scope for each in left}):
        steps += _tournament([each for each in left if each.scope == scope])
    left = _left(left, steps)
    steps += _redundant(left)
    left = _left(left, steps)
    for base_model_id in sorted({each.scope.base_model_id for each in left}):
        group = [each for each in left if each.scope.base_model_id == base_model_id]
        steps += _pruned(group, settings, now)
    left = _left(left, steps)
    if settings.promote:
        steps += [_try_wider(each) for each in _widenings(facts, left)]
    for base_model_id in sorted({each.scope.base_model_id for each in left}):
        group = [each for each in left if each.scope.base_model_id == base_model_id]
        steps += _try_together(facts, group, settings, similarities)
    return steps


def guarded(standings: Sequence[Standing], settings: EvolutionSettings) -> list[EvolutionStep]:
    """The demotions that live outcomes ask for."""
    if not settings.guard:
        return []
    found = []
    for each in standings:
        decision = judge(each.adapter_id, each.live, each.without, settings.guard_alpha)
        if decision.archive:
            found.append(_step("guard", "demoted", [each.adapter_id], decision))
    return found


def _left(standings: Sequence[Standing], steps: Sequence[EvolutionStep]) -> list[Standing]:
    gone = {adapter_id for step in steps for adapter_id in step.archive}
    return [each for each in standings if each.adapter_id not in gone]


def _tournament(group: Sequence[Standing]) -> list[EvolutionStep]:
    decision = tournament([each.measured for each in group])
    if not decision.archive:
        return []
    losers = sorted(decision.archive)
    ids = [*losers, *(each.adapter_id for each in group if each.adapter_id not in losers)]
    return [_step("tournament", "archived", ids, decision)]


def _redundant(left: Sequence[Standing]) -> list[EvolutionStep]:
    refits = [
        (each.stands_by, each.scope, each.weights) for each in left if each.stands_by is not None
    ]
    decision = redundant([(each.measured, each.scope, each.weights) for each in left], refits)
    if not decision.archive:
        return []
    beside = {facts["beside"] for facts in decision.numbers.values()}
    return [_step("tournament", "archived", [*sorted(decision.archive), *sorted(beside)], decision)]


def _pruned(
    group: Sequence[Standing], settings: EvolutionSettings, now: datetime
) -> list[EvolutionStep]:
    kept = [
        Kept(
            each.adapter_id,
            each.scope,
            each.weights,
            each.measured.made,
            each.last_used,
            each.fitness,
        )
        for each in group
    ]
    before = now - timedelta(days=settings.unused_days)
    decision = prune(kept, limit=settings.max_adapters, unused_before=before.isoformat())
    if not decision.archive:
        return []
    return [_step("prune", "pruned", sorted(decision.archive), decision)]


def _widenings(facts: Facts, left: Sequence[Standing]) -> list[Widening]:
    return widenings([(each.measured, each.scope) for each in left], facts.refused)


def _try_wider(widening: Widening) -> EvolutionStep:
    return EvolutionStep(
        operation="promote",
        decision="try_wider",
        adapter_ids=[widening.adapter_id, *widening.incumbents],
        reason=(
            f"Adapter {widening.adapter_id} ({widening.scope}) is proven there, so it is measured "
            f"on the tasks of the {widening.wider.level}, beside {len(widening.incumbents)} others."
        ),
        numbers={"level": widening.wider.level},
    )


def _try_together(
    facts: Facts,
    group: Sequence[Standing],
    settings: EvolutionSettings,
    similarities: Similarities,
) -> list[EvolutionStep]:
    """The one most similar pair: what comes of it changes what the others are like."""
    proven = _one_of_each_weights(
        [each for each in group if beats(beside(each.measured.outcomes, each.measured.base))]
    )
    pairs = agreeing(
        [each.measured for each in proven],
        least_agreement=settings.least_agreement,
        tried=facts.tried,
    )
    if not settings.consolidate or not pairs:
        return []
    near = similarities(sorted(set().union(*(pair.names for pair in pairs))))
    return [
        EvolutionStep(
            operation="consolidate",
            decision="try_together",
            adapter_ids=[pair.first, pair.second],
            reason=(
                f"Adapters {pair.first} and {pair.second} are alike (their deltas' cosine is "
                f"{cosine:.3f}; on {pair.shared} shared tasks they agree on "
                f"{pair.agreement:.0%}), so whether one does better than both is tried."
            ),
            numbers={
                "similarity": round(cosine, 6),
                "agreement": round(pair.agreement, 6),
                "tasks": pair.shared,
            },
        )
        for pair, cosine in alike(pairs, near, settings.least_similarity)[:1]
    ]


def _one_of_each_weights(standings: Sequence[Standing]) -> list[Standing]:
    """An adapter and its promotion have the same weights: the wider one stands for both."""
    width = {"task": 0, "domain": 1, "project": 2}
    widest: dict[str, Standing] = {}
    for each in sorted(standings, key=lambda each: width[each.scope.level]):
        widest[each.weights] = each
    return sorted(widest.values(), key=lambda each: each.adapter_id)


def _step(
    operation: EvolutionOperation,
    decision: EvolutionDecision,
    adapter_ids: Sequence[str],
    found: Decision,
) -> EvolutionStep:
    one = f"Adapter {adapter_ids[0]}: " if operation == "guard" else ""
    return EvolutionStep(
        operation=operation,
        decision=decision,
        adapter_ids=list(adapter_ids),
        archive=found.archive,
        reason=one + found.reason,
        numbers=found.numbers,
    )
