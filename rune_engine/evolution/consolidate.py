"""Consolidation: which adapters may become one, and whether that one is worth more than they were.

Pure functions. Knows no database, no adapter's files, and not how adapters are merged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from rune_engine.evolution.evidence import (
    Decision,
    Measured,
    Scope,
    Scores,
    beats,
    beside,
    mean,
    told,
    total,
    words,
)

FEWEST_SHARED = 3
"""Tasks that two adapters were both tried on, below which nobody knows whether they agree."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two adapters of one project and base model that behave alike.

    `agreement` is 1 minus the mean difference of their scores on `shared` held-out tasks.
    """

    first: str
    second: str
    agreement: float
    shared: int

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.first, self.second))


def agreeing(
    entrants: Sequence[Measured],
    *,
    least_agreement: float,
    tried: Collection[frozenset[str]] = (),
) -> list[Pair]:
    """The pairs whose weights are worth a comparison: they agree, and nobody tried them before.

    Args:
        entrants: adapters in use of one project and base model, each with other weights.
        tried: pairs that were tried before.
    """
    found = []
    for one, other in combinations(entrants, 2):
        shared = one.outcomes.keys() & other.outcomes.keys()
        if frozenset((one.adapter_id, other.adapter_id)) in tried or len(shared) < FEWEST_SHARED:
            continue
        apart = sum(abs(one.outcomes[t] - other.outcomes[t]) for t in shared) / len(shared)
        if 1.0 - apart >= least_agreement:
            found.append(Pair(one.adapter_id, other.adapter_id, 1.0 - apart, len(shared)))
    return found


def alike(
    pairs: Sequence[Pair], similarity: Mapping[frozenset[str], float], least_similarity: float
) -> list[tuple[Pair, float]]:
    """The pairs that are worth a try together, each with its similarity, the most similar first.

    Args:
        similarity: cosines of weight deltas; a pair that is not in it cannot be merged.
    """
    known = [(pair, similarity.get(pair.names)) for pair in pairs]
    found = [(pair, near) for pair, near in known if near is not None and near >= least_similarity]
    return sorted(found, key=lambda each: (-each[1], each[0].first, each[0].second))


def joined(scopes: Sequence[Scope]) -> Scope:
    """The narrowest scope that covers all of these, which are of one base model."""
    first = scopes[0]
    domain = first.domain if all(each.domain == first.domain for each in scopes) else None
    if domain is None:
        return Scope(first.base_model_id, "project")
    if first.task_type is not None and all(each.task_type == first.task_type for each in scopes):
        return first
    return Scope(first.base_model_id, "domain", domain)


def accepts(
    candidate: Measured, base: Scores, parents: Sequence[Measured], routed: Scores
) -> Decision:
    """Whether `candidate` takes its parents' place: `numbers["consolidated"]`.

    On all held-out tasks of all parents taken together it has to beat the base model alone and
    each of its parents, by an interval that leaves out zero, and to solve no fewer of them than
    the parents do when each task goes to the one that covers it. One that is as good as its
    parents is no gain, and is not stored.

    Args:
        parents: with their scores on the same tasks.
        routed: each task's score with the parent that covers it.
    """
    against = beside(candidate.outcomes, base)
    each_parent = {each.adapter_id: beside(candidate.outcomes, each.outcomes) for each in parents}
    shared = candidate.outcomes.keys() & routed.keys()
    kept = total({t: candidate.outcomes[t] for t in shared}) >= total(
        {t: routed[t] for t in shared}
    )
    won = beats(against) and kept and all(beats(found) for found in each_parent.values())
    best = max(parents, key=lambda each: mean(each.outcomes))
    numbers = {
        "consolidated": won,
        "tasks": len(candidate.outcomes),
        "pass_rate": round(mean(candidate.outcomes), 6),
        "against_base": told(against),
        "against_parents": {parent: told(found) for parent, found in each_parent.items()},
        "against_routed": told(beside(candidate.outcomes, routed)),
        "best_parent": best.adapter_id,
    }
    verdict = "One takes their place" if won else "They stay apart"
    reason = (
        f"{verdict}: on {len(candidate.outcomes)} held-out tasks of both the candidate is "
        f"{words(each_parent[best.adapter_id])} beside the better parent, {words(against)} beside "
        "the base model alone."
    )
    names = [each.adapter_id for each in parents]
    archive = dict.fromkeys(names, "It is part of an adapter that beats it.") if won else {}
    return Decision(archive, reason, numbers)
