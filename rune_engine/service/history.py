"""Lifecycle events and finished jobs, as lines that people read. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rune_engine.events import EventLog
from rune_engine.jobs.store import JobStore
from rune_engine.models import FINISHED, HistoryEntry, Job, LifecycleEvent

Facts = dict[str, Any]


def newest_entries(
    events: EventLog, jobs: JobStore, project_id: str | None, limit: int
) -> list[HistoryEntry]:
    """The newest `limit` entries, newest first."""
    told = [_of_event(event) for event in events.history(project_id=project_id, limit=limit)]
    ended = [_of_job(job) for job in jobs.ended(project_id=project_id, limit=limit)]
    # Both are in order; sorting is stable, so events of one moment stay in theirs.
    return sorted([*told, *ended], key=lambda entry: entry.at, reverse=True)[:limit]


def _of_event(event: LifecycleEvent) -> HistoryEntry:
    line = _LINES.get(event.kind, _plain)(event)
    by = {"user": "", "schedule": " (schedule)"}.get(event.caused_by, f" (job {event.caused_by})")
    return HistoryEntry(
        at=event.at,
        kind=event.kind,
        subject=event.subject,
        project_id=event.project_id,
        line=line.removesuffix(".") + by + ".",
        facts=event.payload,
        event=event.seq,
    )


def _of_job(job: Job) -> HistoryEntry:
    assert job.status in FINISHED and job.finished_at is not None
    line = f"The {job.kind} job {job.id} {_ENDS[job.status]}"
    if job.status == "failed" and job.error is not None:
        line += f": {job.error.get('message', '')}"
    return HistoryEntry(
        at=job.finished_at,
        kind=f"job_{job.status}",
        subject=job.id,
        project_id=job.project_id,
        line=line if line.endswith(".") else line + ".",
        facts={"kind": job.kind, "attempt": job.attempt},
    )


_ENDS = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}


def _plain(event: LifecycleEvent) -> str:
    """Any event, by its kind: a newer Rune may have written one that has no words here."""
    return f"{event.kind.replace('_', ' ').capitalize()}: {event.subject}."


def _archived(event: LifecycleEvent) -> str:
    reason = event.payload.get("reason")
    return f"Adapter {event.subject} was taken out of use" + (f": {reason}" if reason else ".")


def _measured(event: LifecycleEvent) -> str:
    rate, fitness = event.payload.get("pass_rate"), event.payload.get("fitness_score")
    shown = [
        f"{name} {value:.3f}"
        for name, value in (("pass rate", rate), ("fitness", fitness))
        if value is not None
    ]
    return f"Adapter {event.subject} was measured: {', '.join(shown) or 'nothing'}."


def _decided(event: LifecycleEvent) -> str:
    line = str(event.payload.get("reason", "")) or _plain(event)
    undo = f" [event {event.seq}]" if event.payload.get("archive") else ""
    return f"{line.removesuffix('.')}{undo}."


def _restored(event: LifecycleEvent) -> str:
    reason = event.payload.get("reason")
    return f"Adapter {event.subject} is in use again" + (f": {reason}" if reason else ".")


def _evolved(event: LifecycleEvent) -> str:
    """The decision's own words; one that changed something says by which number it is undone."""
    payload = event.payload
    line = str(payload.get("reason", "")) or _plain(event)
    name = str(payload.get("decision", "")).replace("_", " ").capitalize()
    undo = f" [event {event.seq}]" if payload.get("archive") or payload.get("stored") else ""
    return f"{name}: {line.removesuffix('.')}{undo}."


def _undone(event: LifecycleEvent) -> str:
    payload = event.payload
    changes = [
        f"{', '.join(payload[key])} {what}"
        for key, what in (("restored", "in use again"), ("archived", "out of use"))
        if payload.get(key)
    ]
    what = "; ".join(changes) or "nothing was left to change"
    return f"The decision of event {payload.get('event')} was taken back: {what}."


_LINES: dict[str, Callable[[LifecycleEvent], str]] = {
    "adapter_stored": lambda event: f"Adapter {event.subject} was stored.",
    "adapter_archived": _archived,
    "adapter_forgotten": lambda event: (
        f"Adapter {event.subject} was taken out of use for good: something it learnt from was "
        "forgotten."
    ),
    "fitness_measured": _measured,
    "project_opted_out": lambda event: f"Project {event.subject} opted out.",
    "project_opted_in": lambda event: f"Project {event.subject} opted in.",
    "consolidation_decided": _decided,
    "adapter_restored": _restored,
    "evolution_decided": _evolved,
    "evolution_undone": _undone,
    "serving_slept": lambda _: "The model was put to sleep, for a job that trains.",
    "serving_woke": lambda _: "The model was woken.",
}
