"""Examines the database itself: its pages, its references, and what its events say of its rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from rune_engine import events, migrations
from rune_engine.database import driver, utc_now
from rune_engine.doctor.findings import Finding, Problem, Tools
from rune_engine.doctor.ground import Ground, revision
from rune_engine.models import EventKind
from rune_engine.registry import lifecycle
from rune_engine.registry.records import AdapterRecord

_STATES = (
    "SELECT id, is_archived, forgotten_at, pass_rate, fitness_score, file_hash FROM adapter_records"
)
_EVENTS = (
    "SELECT subject, kind, payload FROM lifecycle_events WHERE kind IN"
    " ('adapter_stored', 'adapter_archived', 'adapter_restored', 'adapter_forgotten',"
    " 'fitness_measured') ORDER BY seq"
)


def damage(ground: Ground) -> Iterator[Problem]:
    """What SQLite finds wrong, and a database of a newer Rune."""
    found = [row[0] for row in ground.connection.execute("PRAGMA integrity_check(20)")]
    if found != ["ok"]:
        yield unmendable(
            "database_damaged",
            "rune.db",
            "; ".join(found),
            "Rows may be lost or wrong. Stop the engine, keep a copy of rune.db, and restore a "
            "backup.",
        )
    for table, row, parent, _ in ground.connection.execute("PRAGMA foreign_key_check"):
        yield unmendable(
            "reference_broken",
            f"{table} {row}",
            f"A row of {table} refers to one of {parent} that is not there.",
            "Somebody changed the database by other means than Rune; restore a backup.",
        )
    if not migrations.is_known(revision(ground)):
        yield unmendable(
            "database_too_new",
            "rune.db",
            f"A newer Rune made it (revision {revision(ground)}).",
            "This Rune does not open it. Update Rune.",
        )


def unmendable(kind: str, subject: str, what: str, means: str) -> Problem:
    """A finding that no repair is known for."""
    return Problem(
        Finding.model_validate(
            {"kind": kind, "subject": subject, "what": what, "means": means, "repair": None}
        )
    )


@dataclass
class _State:
    """An adapter's state as its events tell it; None for the hash when none stored it."""

    file_hash: str | None = None
    archived: bool = False
    forgotten_at: str | None = None
    pass_rate: float | None = None
    fitness_score: float | None = None

    def follow(self, kind: str, payload: dict[str, object]) -> None:
        if kind == "adapter_stored":
            self.file_hash = str(payload.get("file_hash"))
        elif kind == "fitness_measured":
            self.pass_rate = _number(payload.get("pass_rate"))
            self.fitness_score = _number(payload.get("fitness_score"))
        elif kind == "adapter_restored":
            # What was forgotten is never restored, whatever an event says.
            self.archived = self.forgotten_at is not None
        else:
            self.archived = True
            if kind == "adapter_forgotten":
                self.forgotten_at = str(payload.get("forgotten_at"))


def projection(ground: Ground) -> Iterator[Problem]:
    """Adapters whose columns are not what their events say."""
    told: dict[str, _State] = {}
    for subject, kind, payload in ground.connection.execute(_EVENTS):
        told.setdefault(subject, _State()).follow(kind, json.loads(payload))
    for row in ground.connection.execute(_STATES).fetchall():
        adapter_id, archived, forgotten_at, pass_rate, fitness_score, file_hash = row
        state = told.pop(adapter_id, _State())
        is_state = _State(file_hash, bool(archived), forgotten_at, pass_rate, fitness_score)
        yield from _differences(adapter_id, is_state, state)
    for adapter_id in told:
        yield unmendable(
            "adapter_lost",
            adapter_id,
            "Its events are there and its row is not.",
            "Somebody removed it by other means than Rune; restore a backup that has it.",
        )


def _differences(adapter_id: str, row: _State, told: _State) -> Iterator[Problem]:
    differs = partial(_differs, adapter_id)
    if told.file_hash is None:
        yield differs("no event says that it was stored", "the event is added", _tell_stored)
    elif told.file_hash != row.file_hash:
        yield differs(
            "its event names other weights than its row",
            "it is archived: which of them are right is not known",
            partial(_archive, reason="its event names other weights than its row"),
        )
    if row.forgotten_at is None and told.forgotten_at is not None:
        yield differs("its events say that it was forgotten", "it is marked so", _set_forgotten)
    elif row.forgotten_at is not None and told.forgotten_at is None:
        yield differs("no event says that it was forgotten", "the event is added", _tell_forgotten)
    elif row.archived and not told.archived:
        yield differs("no event says that it was archived", "the event is added", _tell_archived)
    elif told.archived and not row.archived:
        yield differs("its events say that it was archived", "it is marked so", _set_archived)
    if not (_same(row.pass_rate, told.pass_rate) and _same(row.fitness_score, told.fitness_score)):
        yield differs(
            f"its fitness is {row.pass_rate}, {row.fitness_score}; measured was "
            f"{told.pass_rate}, {told.fitness_score}",
            "what was measured is put in its place",
            partial(_set_fitness, told=told),
        )


def _differs(
    adapter_id: str, what: str, repair: str, mend: Callable[[Tools, str], None]
) -> Problem:
    finding = Finding(
        kind="projection_differs",
        subject=adapter_id,
        what=f"Adapter {adapter_id}: {what}.",
        means="The row was changed by other means than Rune. The side that serves less is kept.",
        repair=f"{repair.capitalize()}.",
    )
    return Problem(finding, lambda tools: mend(tools, adapter_id))


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# --- repairs -----------------------------------------------------------------------------------


def _archive(tools: Tools, adapter_id: str, *, reason: str) -> None:
    with tools.database.writing() as session:
        lifecycle.archive(session, adapter_id, reason=reason, caused_by="doctor")


def _tell(
    tools: Tools,
    adapter_id: str,
    *,
    kind: EventKind,
    facts: Callable[[AdapterRecord], dict[str, Any]],
) -> None:
    """Add the event that an adapter's row should have had."""
    with tools.database.writing() as session:
        record = lifecycle.get(session, adapter_id)
        project = record.project_id
        told = facts(record)
        events.append(session, kind, adapter_id, project_id=project, caused_by="doctor", **told)


_tell_stored = partial(_tell, kind="adapter_stored", facts=lifecycle.stored_facts)
_tell_archived = partial(
    _tell, kind="adapter_archived", facts=lambda _: {"reason": "it was found archived"}
)
_tell_forgotten = partial(
    _tell, kind="adapter_forgotten", facts=lambda row: {"forgotten_at": row.forgotten_at}
)


def _set_forgotten(tools: Tools, adapter_id: str) -> None:
    with tools.database.writing() as session:
        update = "UPDATE adapter_records SET is_archived = 1, forgotten_at = ? WHERE id = ?"
        driver(session).execute(update, (utc_now(), adapter_id))


def _set_archived(tools: Tools, adapter_id: str) -> None:
    with tools.database.writing() as session:
        update = "UPDATE adapter_records SET is_archived = 1 WHERE id = ?"
        driver(session).execute(update, (adapter_id,))


def _set_fitness(tools: Tools, adapter_id: str, *, told: _State) -> None:
    with tools.database.writing() as session:
        update = "UPDATE adapter_records SET pass_rate = ?, fitness_score = ? WHERE id = ?"
        driver(session).execute(update, (told.pass_rate, told.fitness_score, adapter_id))
