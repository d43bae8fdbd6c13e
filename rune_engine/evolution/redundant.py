"""A narrower adapter stays where it does more for its own tasks than a wider one does.

The router takes the most specific level first, so one that solves no more of its tasks than the
adapter of a wider level would only hide it: the wider one was taught all that it was, and more.
Pure functions. Knows no database and no adapter's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rune_engine.evolution.evidence import (
    FEWEST_TASKS,
    Decision,
    Measured,
    Scope,
    beats,
    beside,
    told,
    words,
)

Entrant = tuple[Measured, Scope, str]
"""An adapter, what it covers, and what tells its weights from others'."""


def redundant(
    entrants: Sequence[Entrant], refits: Sequence[Entrant] = (), *, fewest: int = FEWEST_TASKS
) -> Decision:
    """Which adapters of one base model go, because a wider one does as well.

    Compared are the tasks that both were measured on, at least `fewest`. Only a wider one that
    beats the base model beyond chance takes a narrower one's place. One that was promoted has the
    same weights at both levels: both stay, so that the promotion can be taken back.

    Args:
        refits: with the scores of what they are refits of, by which they are served, so that one
            whose parent an update has replaced does not stay unjudged.
    """
    archive: dict[str, str] = {}
    numbers: dict[str, Any] = {}
    proven = [each for each in entrants if beats(beside(each[0].outcomes, each[0].base))]
    for narrow, scope, weights in [*entrants, *refits]:
        for wide, above, others in proven:
            found = beside(narrow.outcomes, wide.outcomes)
            if not covers(above, scope) or found is None or found.tasks < fewest:
                continue
            if weights == others or found.better > found.worse:
                continue
            numbers[narrow.adapter_id] = {"beside": wide.adapter_id, **told(found)}
            archive[narrow.adapter_id] = (
                f"Adapter {wide.adapter_id} of the {above.level} level does as well on the tasks "
                f"that it is for: {words(found)}."
            )
    gone = "; ".join(f"{loser}: {why}" for loser, why in sorted(archive.items()))
    return Decision(archive, gone or "Every level earns its place.", numbers)


def covers(wide: Scope, narrow: Scope) -> bool:
    """Whether one scope is wider than another and holds all of it."""
    order = ("task", "domain", "project")
    return (
        wide.base_model_id == narrow.base_model_id
        and order.index(wide.level) > order.index(narrow.level)
        and wide.domain in (None, narrow.domain)
    )
