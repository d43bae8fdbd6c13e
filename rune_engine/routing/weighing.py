"""Which of some adapters, or none: the most specific level with one that suffices, by evidence.

An adapter suffices when it was evaluated, its fitness is high enough, and it solved more than the
base model on the same tasks. One that was not evaluated is chosen only where none suffices. Knows
no database: what was measured, and what each adapter was taught, are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rune_engine.config import RoutingSettings
from rune_engine.models import MAX_CANDIDATES, AdapterInfo, RouteCandidate
from rune_engine.registry.taught import Taught

LEVELS = ("task", "domain", "project")
"""The most specific first."""

Measured = Callable[[str], float | None]
"""How much more of the held-out tasks an adapter solved than the base model; None: not known."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """An adapter as it was weighed; `against` says why it may not be chosen."""

    adapter: AdapterInfo
    nearness: float | None
    score: float
    against: str | None

    @property
    def evaluated(self) -> bool:
        return self.adapter.fitness_score is not None

    @property
    def order(self) -> tuple[bool, bool, int, float]:
        """The first in this order is chosen, unless something is against it; then the newest."""
        level = LEVELS.index(self.adapter.hierarchy_level)
        return self.against is not None, not self.evaluated, level, -self.score


def weigh(
    adapters: Sequence[AdapterInfo],
    near: Mapping[str, float],
    measured: Measured,
    settings: RoutingSettings,
) -> list[Weighed]:
    """The adapters in the order in which they are chosen; of equals the newest comes first."""
    newest = sorted(adapters, key=lambda each: each.created_at, reverse=True)
    return sorted(
        (_weigh(each, near.get(each.id), measured, settings) for each in newest),
        key=lambda each: each.order,
    )


def _weigh(
    adapter: AdapterInfo, nearness: float | None, measured: Measured, settings: RoutingSettings
) -> Weighed:
    score = (adapter.fitness_score or 0.0) + settings.nearness_weight * (nearness or 0.0)
    return Weighed(adapter, nearness, score, _against(adapter, measured, settings))


def _against(adapter: AdapterInfo, measured: Measured, settings: RoutingSettings) -> str | None:
    fitness = adapter.fitness_score
    if fitness is None:
        return None
    if fitness < settings.min_fitness:
        return f"its fitness {fitness:.3f} is below {settings.min_fitness:g}"
    difference = measured(adapter.id)
    if difference is not None and difference <= 0:
        return f"it solved no more held-out tasks than the base model ({difference:+.3f})"
    return None


def nearness(words: set[str], taught: Mapping[str, Taught]) -> dict[str, float]:
    """How much of a text each of some adapters was taught, 0 to 1: the share of its words' weight.

    A word's weight falls with the number of these adapters that know it, so that what they have in
    common says nothing.
    """
    known = {each: taught[each].words.keys() & words for each in taught if taught[each].tasks}
    weights = {
        word: math.log1p(len(known) / (sum(word in own for own in known.values()) + 0.5))
        for word in words
    }
    whole = math.fsum(weights.values()) or 1.0
    return {each: math.fsum(weights[word] for word in own) / whole for each, own in known.items()}


def told(weighed: Sequence[Weighed], base: str) -> list[RouteCandidate]:
    """What was weighed, for whoever asks why: the chosen one first, and the base model alone."""
    chosen = weighed[:1] if weighed and weighed[0].against is None else []
    rest = weighed[len(chosen) : MAX_CANDIDATES - 1]
    alone = RouteCandidate(adapter_id=None, why=base)
    return [
        *(_candidate(each) for each in chosen),
        *(
            [_candidate(each, chosen[0]) for each in rest] + [alone]
            if chosen
            else [alone, *(_candidate(each) for each in rest)]
        ),
    ]


def _candidate(weighed: Weighed, chosen: Weighed | None = None) -> RouteCandidate:
    adapter = weighed.adapter
    return RouteCandidate(
        adapter_id=adapter.id,
        project_id=adapter.project_id,
        level=adapter.hierarchy_level,
        fitness=adapter.fitness_score,
        nearness=weighed.nearness,
        score=weighed.score,
        why=_why(weighed, chosen),
    )


def _why(weighed: Weighed, chosen: Weighed | None) -> str:
    if weighed.against is not None:
        return f"Not chosen: {weighed.against}."
    if chosen is None:
        return f"Chosen: {describe(weighed)}."
    if chosen.evaluated and not weighed.evaluated:
        return "Not evaluated yet, and another one was."
    if LEVELS.index(chosen.adapter.hierarchy_level) < LEVELS.index(weighed.adapter.hierarchy_level):
        return f"The {chosen.adapter.hierarchy_level} level is more specific."
    return "Another one of its level has the higher score, or is newer."


def describe(weighed: Weighed) -> str:
    """What the chosen one covers, and what is known of it."""
    adapter = weighed.adapter
    covers = {
        "task": f"task type {adapter.task_type} in domain {adapter.domain}",
        "domain": f"domain {adapter.domain}",
        "project": "the whole project",
    }[adapter.hierarchy_level]
    fitness = adapter.fitness_score
    known = "not evaluated yet" if fitness is None else f"fitness {fitness:.3f}"
    if weighed.nearness is not None:
        known += f", nearness {weighed.nearness:.2f}"
    return f"the {adapter.hierarchy_level}-level adapter for {covers}, {known}"
