"""Refits: an adapter made again, the same way, from all that its scope teaches.

What is measured is made without the tasks that it is measured by, so it knows less than it could.
Once it was found better than the base model it is made again with them. The refit is served by its
parent's numbers: they tell what this way of making adapters is worth on tasks that it was not
shown, and every event says that they are the parent's. Knows no file, and nothing of how adapters
are made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import text
from sqlmodel import Session

from rune_engine import events
from rune_engine.errors import AdapterForgottenError
from rune_engine.registry import lifecycle
from rune_engine.registry.records import AdapterRecord

IS_REFIT = "parent_ids <> '[]' AND source = 'distillation'"
"""Of a row: nothing else that a distillation makes has a parent."""
REFIT_OF = "json_extract(parent_ids, '$[0]')"

_SCOPE = ("project_id", "base_model_id", "hierarchy_level", "domain", "task_type")

_IN_USE = f"""
SELECT id, {REFIT_OF} AS parent_id FROM adapter_records
WHERE {IS_REFIT} AND is_archived = 0 AND {REFIT_OF} IN (SELECT value FROM json_each(:ids))
ORDER BY created_at, id
"""

_RIVALS = f"""
SELECT id FROM adapter_records
WHERE {IS_REFIT} AND is_archived = 0 AND id <> :id
    AND project_id = :project_id AND base_model_id = :base_model_id
    AND hierarchy_level = :hierarchy_level
    AND (hierarchy_level = 'project' OR domain = :domain)
    AND (hierarchy_level <> 'task' OR task_type = :task_type)
ORDER BY created_at, id
"""


def of(session: Session, adapter_ids: Iterable[str]) -> dict[str, str]:
    """The refits in use of these adapters, each with what it is a refit of."""
    rows = session.connection().execute(text(_IN_USE), {"ids": json.dumps(list(adapter_ids))})
    return {row.id: row.parent_id for row in rows}


def settle(session: Session, adapter_id: str, *, caused_by: str) -> None:
    """Let a refit that has just been stored take over its parent's numbers and its place.

    The refits before it in its scope go. One whose parent was decided against meanwhile goes at
    once: it is stored, and not served.

    Raises:
        AdapterForgottenError: the parent learnt from something that was forgotten.
    """
    record = lifecycle.get(session, adapter_id)
    parent = lifecycle.get(session, json.loads(record.parent_ids)[0])
    if parent.forgotten_at is not None:
        raise AdapterForgottenError(
            f"Adapter {parent.id}, of which a refit was made, was forgotten meanwhile.",
            next_step="Distill again: it learns from what is left.",
        )
    if was_decided_against(session, parent):
        reason = f"Adapter {parent.id}, of which it is a refit, was decided against meanwhile."
        lifecycle.archive(session, adapter_id, reason=reason, caused_by=caused_by)
        return
    lifecycle.measure(
        session,
        adapter_id,
        pass_rate=parent.pass_rate,
        fitness_score=parent.fitness_score,
        caused_by=caused_by,
        inherited_from=parent.id,
    )
    scope = {name: getattr(record, name) for name in _SCOPE}
    earlier = session.connection().execute(text(_RIVALS), {"id": adapter_id, **scope}).scalars()
    for each in earlier.all():
        reason = f"Refit {adapter_id} took its place."
        lifecycle.archive(session, each, reason=reason, caused_by=caused_by)


def was_decided_against(session: Session, record: AdapterRecord) -> bool:
    """Whether evolution or a user took it out of use; an update that replaced it did not."""
    if not record.is_archived:
        return False
    last = events.newest(session, record.id, "adapter_archived")
    return last is not None and (last.caused_by == "user" or "decision" in last.payload)
