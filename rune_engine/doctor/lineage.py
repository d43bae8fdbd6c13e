"""Examines adapters' descent: every parent is there, and nobody descends from itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from rune_engine.doctor.findings import Problem
from rune_engine.doctor.ground import Ground
from rune_engine.doctor.tables import unmendable

_PARENTS = "SELECT id, parent_ids FROM adapter_records ORDER BY id"


def lineage(ground: Ground) -> Iterator[Problem]:
    """Adapters whose parents are not there, and circles of descent."""
    parents = {row[0]: json.loads(row[1]) for row in ground.connection.execute(_PARENTS)}
    for adapter_id, named in parents.items():
        for lost in sorted(set(named) - parents.keys()):
            yield _broken(adapter_id, f"its parent {lost} is not there")
    for adapter_id in _in_circles(parents):
        yield _broken(adapter_id, "it descends from itself")


def _broken(adapter_id: str, what: str) -> Problem:
    return unmendable(
        "lineage_broken",
        adapter_id,
        f"Adapter {adapter_id}: {what}.",
        "Somebody changed the database by other means than Rune: restore a backup. Until then "
        "forgetting may miss what descends from it.",
    )


def _in_circles(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Those left when everybody whose parents are all gone goes, again and again."""
    left = {child: set(named) & parents.keys() for child, named in parents.items()}
    while free := [child for child, named in left.items() if not named]:
        for child in free:
            del left[child]
        for named in left.values():
            named.difference_update(free)
    # What only descends from a circle is in none.
    inside = set(left)
    while outer := {each for each in inside if not any(each in left[c] for c in inside)}:
        inside -= outer
    return sorted(inside)
