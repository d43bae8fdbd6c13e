"""Writes a decision down and carries it out, in one transaction: its event first, then the change.

So an engine that dies at any point leaves both or neither. A decision whose facts have changed
since they were read is not carried out: it is made again. Knows nothing of how it was decided.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import text
from sqlmodel import Session

from rune_engine import events
from rune_engine.errors import OutdatedDecisionError
from rune_engine.models import EvolutionStep
from rune_engine.registry import lifecycle, refits

_CHANGED = """
SELECT 1 FROM lifecycle_events WHERE seq > :as_of
AND subject IN (SELECT value FROM json_each(:ids))
AND kind IN ('adapter_archived', 'adapter_restored', 'adapter_forgotten', 'fitness_measured')
LIMIT 1
"""


def carry_out(
    session: Session, step: EvolutionStep, *, project_id: str, caused_by: str, as_of: int
) -> int:
    """Write `step` down as an event and archive whom it names, inside a write transaction.

    Args:
        as_of: the last event that the step's facts included.

    Returns:
        The event's `seq`, by which it can be taken back.

    Raises:
        OutdatedDecisionError: nothing was written.
    """
    ids = json.dumps(sorted({*step.adapter_ids, *step.archive}))
    changed = session.connection().execute(text(_CHANGED), {"as_of": as_of, "ids": ids})
    if changed.scalar():
        raise OutdatedDecisionError(
            f"What is known of adapter {step.adapter_ids[0]} has changed since it was judged.",
            next_step="Nothing was changed; it is judged again by what is known now.",
        )
    step = step.model_copy(update={"archive": with_refits(session, step.archive)})
    seq = events.append(
        session,
        "evolution_decided",
        step.adapter_ids[0],
        project_id=project_id,
        caused_by=caused_by,
        **step.model_dump(mode="json"),
    )
    for loser, reason in sorted(step.archive.items()):
        lifecycle.archive(session, loser, reason=reason, caused_by=caused_by, decision=seq)
    return seq


def with_refits(session: Session, archive: Mapping[str, str]) -> dict[str, str]:
    """Who goes, and with them their refits, which stand by their numbers."""
    gone = {
        each: f"Adapter {parent}, of which it is a refit, went."
        for each, parent in refits.of(session, archive).items()
    }
    return gone | dict(archive)
