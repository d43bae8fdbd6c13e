"""What has changed in a home since somebody last looked, from the rows themselves.

A few reads of indexes, whatever the size of the tables. Knows nothing of who asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rune_engine.database import Database
from rune_engine.models import MOST_CHANGES, ChangeCursor, Changes
from rune_engine.readers import Row

_LAST_EVENT = "SELECT coalesce(max(seq), 0) FROM lifecycle_events"
_EVENTS = (
    "SELECT seq, kind, subject, project_id, payload FROM lifecycle_events"
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)
_LAST = "SELECT created_at, id FROM {} ORDER BY created_at DESC, id DESC LIMIT 1"
_NEW = (
    "SELECT created_at, id, project_id FROM {}"
    " WHERE (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"
)
_UNFINISHED = "SELECT id, revision FROM jobs WHERE status = ? ORDER BY created_at LIMIT ?"
_PROJECTS_OF_JOBS = "SELECT project_id FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
_ABOUT_ADAPTERS = ("adapter_", "fitness_", "evolution_", "consolidation_")
_NAMES_ADAPTERS = ("archive", "archived", "stored", "restored", "adapters")
"""Where an event's payload names adapters beside its subject."""


class ChangeFeed:
    """Looks for changes in one home. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, cursor: ChangeCursor | None) -> Changes:
        """What has changed since `cursor`; nothing, and where to begin, without one."""
        if cursor is None:
            return _nothing(self._now())
        ask = self._database.query
        events = ask(_EVENTS, [cursor.event, MOST_CHANGES])
        trajectories = ask(_NEW.format("trajectories"), [*cursor.trajectory, MOST_CHANGES])
        jobs = ask(_NEW.format("jobs"), [*cursor.job, MOST_CHANGES])
        revisions = self._unfinished()
        moved = {id for id, revision in revisions.items() if cursor.unfinished.get(id) != revision}
        ended = cursor.unfinished.keys() - revisions.keys()
        changed_jobs = moved | ended | {row[1] for row in jobs}
        over = changed_jobs - revisions.keys()
        projects = {row[3] for row in events} | {row[2] for row in trajectories}
        return Changes(
            cursor=ChangeCursor(
                event=events[-1][0] if events else cursor.event,
                trajectory=_place(trajectories, cursor.trajectory),
                job=_place(jobs, cursor.job),
                unfinished=revisions,
            ),
            adapters=sorted(_adapters(events)),
            trajectories=[row[1] for row in trajectories],
            projects=sorted((projects | _own(events) | self._projects(over)) - {None}),
            jobs=sorted(changed_jobs),
            history=bool(events or over),
            erased=any(row[1] == "trajectories_erased" for row in events),
        )

    def _now(self) -> ChangeCursor:
        ask = self._database.query
        return ChangeCursor(
            event=ask(_LAST_EVENT)[0][0],
            trajectory=_place(ask(_LAST.format("trajectories")), ["", ""]),
            job=_place(ask(_LAST.format("jobs")), ["", ""]),
            unfinished=self._unfinished(),
        )

    def _unfinished(self) -> dict[str, int]:
        """The revision of every job that has not ended; one that starts meanwhile is among them."""
        ask = self._database.query
        rows = [ask(_UNFINISHED, [status, MOST_CHANGES]) for status in ("queued", "running")]
        return {job_id: revision for found in rows for job_id, revision in found}

    def _projects(self, jobs: Iterable[str]) -> set[str]:
        return {row[0] for row in self._database.query(_PROJECTS_OF_JOBS, [json.dumps([*jobs])])}


def _nothing(cursor: ChangeCursor) -> Changes:
    return Changes(
        cursor=cursor,
        adapters=[],
        trajectories=[],
        projects=[],
        jobs=[],
        history=False,
        erased=False,
    )


def _place(rows: list[Row], before: list[str]) -> list[str]:
    return list(rows[-1][:2]) if rows else before


def _adapters(events: list[Row]) -> set[str]:
    """The adapters that events are about, by their subject or in their payload."""
    found: set[str] = set()
    for _, kind, subject, _, payload in events:
        if kind.startswith(_ABOUT_ADAPTERS):
            found.add(subject)
        facts: dict[str, Any] = json.loads(payload)
        for key in _NAMES_ADAPTERS:
            named = facts.get(key)
            if isinstance(named, list | dict):
                found.update(each for each in named if isinstance(each, str))
    return found


def _own(events: list[Row]) -> set[str]:
    """Projects that are themselves what an event is about."""
    return {row[2] for row in events if row[1].startswith("project_")}
