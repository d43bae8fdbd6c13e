"""What adapters were taught, as counts of words: written with the adapter, erased when forgotten.

An adapter's words are those of the tasks that it was trained on; of one that was merged from others
without such tasks, its parents'. Whatever changes which of them are in use is an event, so that the
newest event tells whether something that was read before is still true.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlmodel import Session

from rune_engine.database import Database, driver
from rune_engine.models import LearntRole
from rune_engine.readers import Row
from rune_engine.word_counts import count_words

MOST_WORDS = 10_000
"""Kept of one adapter: those of the most tasks."""

_DESCRIPTIONS = (
    "SELECT task_description FROM trajectories WHERE id IN (SELECT value FROM json_each(?))"
)
_ADD = "INSERT INTO adapter_taught (adapter_id, tasks, words) VALUES (?, ?, ?)"
_ERASE = "DELETE FROM adapter_taught WHERE adapter_id IN (SELECT value FROM json_each(?))"
_OF = (
    "SELECT adapter_id, '', tasks, words FROM adapter_taught"
    " WHERE adapter_id IN (SELECT value FROM json_each(?))"
)
_SELECT = (
    "SELECT a.id, a.project_id, t.tasks, t.words FROM adapter_records AS a"
    " CROSS JOIN adapter_taught AS t ON t.adapter_id = a.id WHERE"
)
_ALL = f"{_SELECT} a.base_model_id = ? AND +a.is_archived = 0"
_OF_PROJECTS = (
    f"{_SELECT} a.project_id IN (SELECT value FROM json_each(?))"
    " AND a.is_archived = 0 AND a.base_model_id = ?"
)
_NEWEST = "SELECT max(seq) FROM lifecycle_events"
_TOUCHED = (
    "SELECT project_id FROM lifecycle_events"
    " WHERE seq > ? AND +kind LIKE 'adapter_%' AND +project_id IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Taught:
    """How many tasks an adapter was taught, and in how many of them each word occurs."""

    adapter_id: str
    project_id: str
    tasks: int
    words: dict[str, int]


@dataclass(frozen=True, slots=True)
class Changes:
    """What there is to read anew: whose adapters changed (None: everybody's), and what those of
    them that are in use were taught; `upto` is the last event that is in it."""

    upto: int
    projects: frozenset[str] | None
    taught: list[Taught]


def note(
    session: Session,
    adapter_id: str,
    learnt_from: Mapping[str, LearntRole],
    parent_ids: Collection[str] = (),
) -> None:
    """Write down what a new adapter was taught, in the transaction that stores it."""
    connection = driver(session)
    trained = [each for each, role in learnt_from.items() if role == "trained"]
    rows = connection.execute(_DESCRIPTIONS, [json.dumps(trained)]).fetchall()
    tasks, words = len(rows), count_words(row[0] for row in rows)
    if not tasks:
        for parent in _taught(connection.execute(_OF, [json.dumps(list(parent_ids))])):
            tasks, words = tasks + parent.tasks, words + Counter(parent.words)
    kept = dict(sorted(words.most_common(MOST_WORDS)))
    connection.execute(_ADD, [adapter_id, tasks, json.dumps(kept, ensure_ascii=False)])


def erase(session: Session, adapter_ids: Collection[str]) -> None:
    """Remove the words of adapters that are marked as forgotten."""
    session.flush()
    driver(session).execute(_ERASE, [json.dumps(list(adapter_ids))])


class TaughtWords:
    """Reads what adapters were taught. Safe to share between threads and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, adapter_ids: Collection[str]) -> dict[str, Taught]:
        """What these adapters were taught; those of which it is not known are left out."""
        found = _taught(self._database.query(_OF, [json.dumps(list(adapter_ids))]))
        return {each.adapter_id: each for each in found}

    def newest_event(self) -> int:
        """The last event's number; 0 before the first."""
        return int(self._database.query(_NEWEST)[0][0] or 0)

    def changes(self, base_model_id: str, since: int | None) -> Changes:
        """What changed for a base model's adapters after an event; since None: all there is."""
        with self._database.snapshot() as connection:
            upto = int(connection.execute(_NEWEST).fetchone()[0] or 0)
            if since is None or upto < since:
                rows = connection.execute(_ALL, [base_model_id])
                return Changes(upto, None, list(_taught(rows)))
            touched = frozenset(row[0] for row in connection.execute(_TOUCHED, [since]))
            named = json.dumps(sorted(touched))
            rows = connection.execute(_OF_PROJECTS, [named, base_model_id])
            return Changes(upto, touched, list(_taught(rows)))


def _taught(rows: Iterable[Row]) -> Iterable[Taught]:
    for adapter_id, project_id, tasks, words in rows:
        yield Taught(adapter_id, project_id, tasks, json.loads(words))
