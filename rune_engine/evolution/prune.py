"""Pruning: beyond a project's limit, what nobody has used for long goes out of use.

Pure functions. Knows no clock, no database and no adapter's files: what goes is archived, its
weights stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rune_engine.evolution.evidence import Decision, Scope


@dataclass(frozen=True, slots=True)
class Kept:
    """An adapter in use. Times are ISO 8601 in UTC; `weights` is the hash of its bytes."""

    adapter_id: str
    scope: Scope
    weights: str
    made: str
    last_used: str
    fitness: float | None


def prune(kept: Sequence[Kept], *, limit: int, unused_before: str) -> Decision:
    """Who goes, the longest unused first, until no more than `limit` are left.

    The best of each scope always stays (the fittest that was measured, else the newest), so the
    last good one does. Adapters with the same weights count once.

    Args:
        kept: the adapters in use of one project, for one base model.
        unused_before: what was used since then stays, however many there are.
    """
    best = {_best([each for each in kept if each.scope == scope]) for scope in _scopes(kept)}
    excess = len({each.weights for each in kept}) - limit
    idle = [each for each in kept if each.adapter_id not in best and _used(each) < unused_before]
    archive: dict[str, str] = {}
    left = {each.adapter_id: each.weights for each in kept}
    for each in sorted(idle, key=lambda each: (_used(each), each.adapter_id)):
        if len(set(left.values())) <= limit:
            break
        del left[each.adapter_id]
        archive[each.adapter_id] = (
            f"Nothing has used it since {_used(each)[:10]}, and the project has more than {limit} "
            "adapters in use."
        )
    numbers: dict[str, Any] = {
        "in_use": len(kept),
        "limit": limit,
        "unused_before": unused_before,
        "idle": len(idle),
    }
    return Decision(archive, _reason(len(kept), max(0, excess), len(archive)), numbers)


def _used(each: Kept) -> str:
    return max(each.made, each.last_used)


def _scopes(kept: Sequence[Kept]) -> set[Scope]:
    return {each.scope for each in kept}


def _best(kept: Sequence[Kept]) -> str:
    """As the router chooses: the fittest, unevaluated ones last, then the newest."""
    return max(
        kept, key=lambda each: (each.fitness is not None, each.fitness or 0.0, each.made)
    ).adapter_id


def _reason(in_use: int, excess: int, gone: int) -> str:
    if not excess:
        return f"{in_use} adapters are in use, which is within the limit."
    return (
        f"{in_use} adapters are in use, {excess} beyond the limit: {gone} go, the longest unused."
    )
