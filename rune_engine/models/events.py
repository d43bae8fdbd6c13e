"""S19 on the wire: lifecycle events, and the history that is told from them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rune_engine.models.base import Model

EventKind = Literal[
    "adapter_stored",
    "adapter_archived",
    "adapter_forgotten",
    "fitness_measured",
    "trajectories_erased",
    "project_opted_out",
    "project_opted_in",
    "consolidation_decided",
    "serving_slept",
    "serving_woke",
    "backup_made",
    "backup_restored",
    "data_repaired",
    "capture_allowed",
    "capture_forbidden",
]


class LifecycleEvent(Model):
    """Something that was decided or done, with the facts behind it."""

    seq: int = Field(description="The order of events; the clock may jump, this does not.")
    at: str
    kind: EventKind
    subject: str = Field(description="Id of the adapter, project, session or job it is about.")
    project_id: str | None
    caused_by: str = Field(description='"user", "schedule", or the id of the job.')
    payload: dict[str, Any]


class HistoryEntry(Model):
    """Something that happened, as a line to read and as facts."""

    at: str
    kind: str = Field(description="A lifecycle event's kind, or `job_` and how a job ended.")
    subject: str = Field(description="Id of the adapter, project, session or job it is about.")
    project_id: str | None
    line: str
    facts: dict[str, Any]


class HistoryPage(Model):
    """The newest first."""

    entries: list[HistoryEntry]
