"""How an adapter's state changes, each time with its event in the same transaction.

The columns that change (`is_archived`, `forgotten_at`, `pass_rate`, `fitness_score`) are a
projection of the events: `rune doctor --data` replays them and compares. Also which adapters
learnt from a trajectory. Knows no file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from rune_engine import events
from rune_engine.database import utc_now
from rune_engine.errors import (
    AdapterForgottenError,
    AdapterNotFoundError,
    TrajectoryForgottenError,
)
from rune_engine.models import LearntRole
from rune_engine.registry import taught
from rune_engine.registry.records import AdapterRecord

_LEARNT = """
SELECT adapter_id FROM adapter_trajectories
WHERE trajectory_id IN (SELECT value FROM json_each(:ids))
"""

_ANY_ERASED = """
SELECT 1 FROM erasures WHERE trajectory_id IN (SELECT value FROM json_each(:ids)) LIMIT 1
"""

_ADD_LEARNT = """
INSERT INTO adapter_trajectories (adapter_id, trajectory_id, role) VALUES (:a, :t, :r)
"""

_LEARNT_FROM = """
SELECT trajectory_id, role FROM adapter_trajectories WHERE adapter_id = :id ORDER BY trajectory_id
"""

_SOURCES_UNKNOWN = """
SELECT id FROM adapter_records
WHERE project_id IN (
    SELECT project_id FROM trajectories WHERE id IN (SELECT value FROM json_each(:ids))
) AND NOT EXISTS (SELECT 1 FROM adapter_trajectories WHERE adapter_id = adapter_records.id)
"""

_STORED_FACTS = {
    *("version", "generation", "source", "base_model_id", "hierarchy_level", "domain"),
    *("task_type", "rank", "file_hash", "file_size_bytes"),
}

_PARENTS = "SELECT id, parent_ids FROM adapter_records WHERE parent_ids <> '[]'"


def get(session: Session, adapter_id: str) -> AdapterRecord:
    """One adapter's row.

    Raises:
        AdapterNotFoundError: there is no such adapter.
    """
    record = session.get(AdapterRecord, adapter_id)
    if record is None:
        raise not_found(adapter_id)
    return record


def not_found(adapter_id: str) -> AdapterNotFoundError:
    """The error for an id that no adapter has."""
    return AdapterNotFoundError(
        f"There is no adapter {adapter_id}.", next_step="List the adapters to see their ids."
    )


def add(session: Session, record: AdapterRecord, *, caused_by: str) -> None:
    """Add a new adapter's row."""
    session.add(record)
    session.flush()
    events.append(
        session,
        "adapter_stored",
        record.id,
        project_id=record.project_id,
        caused_by=caused_by,
        **stored_facts(record),
    )


def stored_facts(record: AdapterRecord) -> dict[str, Any]:
    """What the event of a stored adapter says of it."""
    return {
        **record.model_dump(include=_STORED_FACTS),
        "parent_ids": json.loads(record.parent_ids),
    }


def note_learnt_from(
    session: Session, adapter_id: str, learnt_from: Mapping[str, LearntRole]
) -> None:
    """Write down which trajectories a new adapter learnt from.

    Raises:
        TrajectoryForgottenError: one of them was erased meanwhile, so the adapter may not be kept.
    """
    connection = session.connection()
    ids = {"ids": json.dumps(list(learnt_from))}
    if connection.execute(text(_ANY_ERASED), ids).scalar():
        raise TrajectoryForgottenError(
            f"Something that adapter {adapter_id} learnt from was forgotten meanwhile.",
            next_step="Distill again: it learns from what is left.",
        )
    rows = [{"a": adapter_id, "t": each, "r": role} for each, role in learnt_from.items()]
    if rows:
        connection.execute(text(_ADD_LEARNT), rows)


def learnt_from(session: Session, adapter_id: str) -> dict[str, LearntRole]:
    """The trajectories that an adapter learnt from, and what each was to it."""
    rows = session.connection().execute(text(_LEARNT_FROM), {"id": adapter_id})
    return {row.trajectory_id: row.role for row in rows}


def archive(
    session: Session,
    adapter_id: str,
    *,
    reason: str = "",
    caused_by: str = "user",
    **facts: Any,
) -> AdapterRecord:
    """Take an adapter out of use; one that is out of use already stays as it is.

    Args:
        facts: more to say in the event, such as the `seq` of the decision that it follows from.
    """
    record = get(session, adapter_id)
    if not record.is_archived:
        record.is_archived = True
        events.append(
            session,
            "adapter_archived",
            adapter_id,
            project_id=record.project_id,
            caused_by=caused_by,
            reason=reason,
            **facts,
        )
    return record


def restore(
    session: Session,
    adapter_id: str,
    *,
    reason: str = "",
    caused_by: str = "user",
    **facts: Any,
) -> AdapterRecord:
    """Put an archived adapter in use again; one that is in use stays as it is.

    Raises:
        AdapterForgottenError: something that it learnt from was forgotten, so it stays out.
    """
    record = get(session, adapter_id)
    if record.forgotten_at is not None:
        raise forgotten(adapter_id)
    if record.is_archived:
        record.is_archived = False
        events.append(
            session,
            "adapter_restored",
            adapter_id,
            project_id=record.project_id,
            caused_by=caused_by,
            reason=reason,
            **facts,
        )
    return record


def forgotten(adapter_id: str) -> AdapterForgottenError:
    """The error for an adapter that is out of use for good."""
    return AdapterForgottenError(
        f"Adapter {adapter_id} is not used any more: something that it learnt from was forgotten.",
        next_step="Distill again: it learns from what is left.",
    )


def measure(
    session: Session,
    adapter_id: str,
    *,
    pass_rate: float | None,
    fitness_score: float | None,
    caused_by: str = "user",
    **facts: int | str | None,
) -> AdapterRecord:
    """Set what an evaluation found; the event keeps how much it rests on and what was before."""
    record = get(session, adapter_id)
    before = {"pass_rate": record.pass_rate, "fitness_score": record.fitness_score}
    record.pass_rate, record.fitness_score = pass_rate, fitness_score
    events.append(
        session,
        "fitness_measured",
        adapter_id,
        project_id=record.project_id,
        caused_by=caused_by,
        pass_rate=pass_rate,
        fitness_score=fitness_score,
        before=before,
        **{name: fact for name, fact in facts.items() if fact is not None},
    )
    return record


def mark_forgotten(
    session: Session, adapter_ids: Collection[str], *, caused_by: str = "user"
) -> list[str]:
    """Take adapters out of use for good, as something they learnt from was forgotten.

    Works inside a write transaction, so that it commits with the erasure that is its reason.

    Returns:
        The ids that were not forgotten before, sorted.

    Raises:
        AdapterNotFoundError: an id is no adapter's.
    """
    records = [get(session, adapter_id) for adapter_id in sorted(set(adapter_ids))]
    new = [record for record in records if record.forgotten_at is None]
    now = utc_now()
    for record in new:
        was_archived, record.is_archived, record.forgotten_at = record.is_archived, True, now
        events.append(
            session,
            "adapter_forgotten",
            record.id,
            project_id=record.project_id,
            caused_by=caused_by,
            forgotten_at=now,
            was_archived=was_archived,
        )
    taught.erase(session, [record.id for record in records])
    return [record.id for record in new]


def dependents(session: Session, trajectory_ids: Collection[str]) -> list[str]:
    """Every adapter that learnt from one of these trajectories, sorted by id.

    That is: trained on it or evaluated with it, made from such an adapter (however many
    generations later), or of the same project with sources that nobody noted down. Ask before the
    trajectories are erased: their rows say which projects they belong to.
    """
    ids = {"ids": json.dumps(sorted(set(trajectory_ids)))}
    connection = session.connection()
    found = set(connection.execute(text(_LEARNT), ids).scalars())
    found.update(connection.execute(text(_SOURCES_UNKNOWN), ids).scalars())
    rows = connection.execute(text(_PARENTS)).all()
    return sorted(_with_descendants(found, ((row.id, row.parent_ids) for row in rows)))


def _with_descendants(found: set[str], parents: Iterable[tuple[str, str]]) -> set[str]:
    children: dict[str, list[str]] = {}
    for child, parent_ids in parents:
        for parent in json.loads(parent_ids):
            children.setdefault(parent, []).append(child)
    reached, open_ends = set(found), list(found)
    while open_ends:
        new = set(children.get(open_ends.pop(), ())) - reached
        reached |= new
        open_ends += new
    return reached
