"""What an arm's home says of its weeks: events, jobs, and what the answering adapters had learnt.

Reads the database of an engine that has ended, and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.lifecycle.living import arm_config
from rune_engine.database import open_database
from rune_engine.events import MAX_PAGE, EventLog
from rune_engine.models import LifecycleEvent
from rune_engine.registry import AdapterRegistry

_JOBS = "SELECT kind, status, count(*) FROM jobs GROUP BY kind, status ORDER BY kind, status"

MADE_AT_ONCE, TRAINED, EVALUATED, REFITTED = "distilled at once", "trained", "evaluated", "refitted"
PROMOTED, ARCHIVED, RESTORED = "promoted", "archived", "restored"
COUNTED = (MADE_AT_ONCE, TRAINED, EVALUATED, REFITTED, PROMOTED, ARCHIVED, RESTORED)


@dataclass(frozen=True, slots=True)
class Lived:
    """What is left of an arm's weeks.

    Attributes:
        days: as `living` has kept them, in order.
        events: every lifecycle event, oldest first.
        jobs: how many there are of each kind and status.
        learnt: the trajectories that each adapter was trained on.
        levels: each adapter's hierarchy level.
    """

    days: Sequence[Mapping[str, Any]]
    events: Sequence[LifecycleEvent]
    jobs: Mapping[str, int]
    learnt: Mapping[str, frozenset[str]]
    levels: Mapping[str, str]


def read(folder: Path) -> Lived:
    """What the arm in `folder` has lived through."""
    config = arm_config(folder / "home", schedule=False)
    with closing(open_database(config)) as database:
        registry = AdapterRegistry(database, config)
        adapters = registry.list_all()
        return Lived(
            days=_days(folder / "days"),
            events=sorted(_events(EventLog(database)), key=lambda event: event.seq),
            jobs={f"{kind} {status}": count for kind, status, count in database.query(_JOBS)},
            learnt={
                adapter.id: frozenset(
                    trajectory
                    for trajectory, role in registry.learnt_from(adapter.id).items()
                    if role == "trained"
                )
                for adapter in adapters
            },
            levels={adapter.id: adapter.hierarchy_level for adapter in adapters},
        )


def _days(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]


def _events(log: EventLog) -> Iterator[LifecycleEvent]:
    before: int | None = None
    while page := log.history(before=before, limit=MAX_PAGE):
        yield from page
        before = page[-1].seq


def count(events: Sequence[LifecycleEvent]) -> dict[str, int]:
    """How often each thing that is counted happened."""
    found = [name for event in events if (name := _name_of(event)) is not None]
    return {name: found.count(name) for name in COUNTED}


def _name_of(event: LifecycleEvent) -> str | None:
    decision = event.payload.get("decision")
    match event.kind, decision:
        case "consolidation_decided", "distill":
            return MADE_AT_ONCE if event.payload.get("way") == "fast" else TRAINED
        case "fitness_measured", _:
            return REFITTED if "inherited_from" in event.payload else EVALUATED
        case "adapter_archived", _:
            return ARCHIVED
        case "adapter_restored", _:
            return RESTORED
        case _, "promoted":
            return PROMOTED
        case _:
            return None


def promotions(events: Sequence[LifecycleEvent]) -> list[dict[str, Any]]:
    """Every promotion, with its interval against the base model as its event tells it.

    `excludes_zero` is false also where an event tells no interval: then nothing has shown it.
    """
    return [_promotion(event) for event in events if _name_of(event) == PROMOTED]


def _promotion(event: LifecycleEvent) -> dict[str, Any]:
    told = event.payload.get("numbers", {}).get("against_base", {})
    interval = told.get("interval")
    return {
        "seq": event.seq,
        "project_id": event.project_id,
        "adapter_id": event.subject,
        "tasks": told.get("tasks"),
        "difference": told.get("difference"),
        "interval": interval,
        "excludes_zero": interval is not None and interval[0] > 0,
    }


def widened(events: Sequence[LifecycleEvent]) -> list[str]:
    """Adapters that evolution stored, of which no promotion and no consolidation tells.

    So a promotion that forgot to say so cannot pass unseen.
    """
    stored = {
        event.subject
        for event in events
        if event.kind == "adapter_stored" and event.payload.get("source") == "evolution"
    }
    told = {
        name
        for event in events
        if event.payload.get("decision") in ("promoted", "consolidated")
        for name in [event.subject, *event.payload.get("stored", [])]
    }
    return sorted(stored - told)
