"""Promotion, task to domain to project: an adapter that helps beyond its own scope covers more.

Pure functions. Knows no database, no adapter's files, and not how anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rune_engine.evolution.evidence import (
    Decision,
    Measured,
    Scope,
    Scores,
    beats,
    beside,
    digest,
    mean,
    told,
    words,
)


@dataclass(frozen=True, slots=True)
class Widening:
    """An adapter that may cover more, and what it would have to beat there."""

    adapter_id: str
    scope: Scope
    wider: Scope
    incumbents: tuple[str, ...] = ()


def wider(scope: Scope) -> Scope | None:
    """The next level up; None for a project, which is the widest."""
    if scope.level == "project":
        return None
    if scope.level == "task":
        return Scope(scope.base_model_id, "domain", scope.domain)
    return Scope(scope.base_model_id, "project")


def widenings(
    entrants: Sequence[tuple[Measured, Scope]], refused: frozenset[tuple[str, str]] = frozenset()
) -> list[Widening]:
    """Which adapters to try on the next level's tasks: of each narrow scope the best proven one.

    Args:
        entrants: the adapters in use, each with its scope.
        refused: pairs of an adapter and a level that were decided on before.
    """
    found = []
    for scope in sorted({scope for _, scope in entrants if wider(scope) is not None}):
        proven = [
            each
            for each, covers in entrants
            if covers == scope and beats(beside(each.outcomes, each.base))
        ]
        best = max(proven, key=lambda each: (mean(each.outcomes), each.made), default=None)
        above = wider(scope)
        if best is None or above is None or (best.adapter_id, above.level) in refused:
            continue
        incumbents = tuple(each.adapter_id for each, covers in entrants if covers == above)
        found.append(Widening(best.adapter_id, scope, above, incumbents))
    return found


def promotes(candidate: Measured, base: Scores, incumbents: Sequence[Measured]) -> Decision:
    """Whether `candidate` covers the wider level from now on: `numbers["promoted"]`.

    It has to beat the base model and every incumbent there, each on the wider level's held-out
    tasks by an interval that leaves out zero. The incumbents stay: which of them goes is the
    tournament's to say.

    Args:
        candidate: with its scores on the wider level's tasks.
        base: the base model's on the same.
        incumbents: the wider level's adapters in use, with theirs.
    """
    against = beside(candidate.outcomes, base)
    rivals = {each.adapter_id: beside(candidate.outcomes, each.outcomes) for each in incumbents}
    promoted = beats(against) and all(beats(found) for found in rivals.values())
    numbers = {
        "promoted": promoted,
        "tasks": digest(list(candidate.outcomes)),
        "against_base": told(against),
        "against_incumbents": {rival: told(found) for rival, found in rivals.items()},
    }
    lines = [f"beside the base model alone {words(against)}"]
    lines += [f"beside {rival} {words(found)}" for rival, found in rivals.items()]
    verdict = "It covers more from now on" if promoted else "It covers no more than before"
    return Decision({}, f"{verdict}: on the wider level's tasks it is {'; '.join(lines)}.", numbers)
