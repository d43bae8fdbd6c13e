"""Reads what the policy judges from the database. One snapshot a question; changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from rune_engine.consolidation.policy import Facts, Failure, Learnt, Lesson, Scope
from rune_engine.evaluation.near import groups
from rune_engine.models import FAST_METHODS

FAST, TRAINED = "fast", "trained"
"""Ways, in the event that tells of a distillation."""

_LESSONS = """
SELECT id, project_id, domain, task_type, task_description, test_suite <> '' AS has_tests, held_out
FROM trajectories
WHERE (distillable OR held_out) AND project_id IN (
    SELECT project_id FROM trajectories WHERE distillable GROUP BY project_id
    HAVING count(*) >= :fewest
) AND (:projects IS NULL OR project_id IN (SELECT value FROM json_each(:projects)))
AND project_id NOT IN (
    SELECT subject FROM (
        SELECT subject, kind, max(seq) FROM lifecycle_events
        WHERE kind IN ('project_opted_out', 'project_opted_in') GROUP BY subject
    ) WHERE kind = 'project_opted_out'
)
ORDER BY created_at, id
"""
"""SQLite takes `kind` from the row that has the highest `seq`."""

_LEARNT = """
SELECT a.id, a.project_id, a.hierarchy_level, a.domain, a.task_type, l.trajectory_id, l.role,
    json_extract(j.result, '$.method') AS method, json_extract(j.params, '$.method') AS asked,
    j.id AS job_id
FROM adapter_records AS a LEFT JOIN adapter_trajectories AS l ON l.adapter_id = a.id
LEFT JOIN lifecycle_events AS e ON e.subject = a.id AND e.kind = 'adapter_stored'
LEFT JOIN jobs AS j ON j.id = e.caused_by
WHERE a.base_model_id = :base_model_id AND json_extract(j.params, '$.refit_of') IS NULL
ORDER BY a.created_at, a.version, a.id
"""
"""A refit has learnt nothing but what it is a refit of was given."""

_ASKED = """
SELECT j.id, j.status, j.params, j.result, j.error, j.finished_at, e.payload
FROM lifecycle_events AS e JOIN jobs AS j ON j.id = e.subject
WHERE e.kind = 'consolidation_decided' AND e.caused_by = 'schedule'
ORDER BY e.seq
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A distillation that the schedule asked for, as it is now."""

    job_id: str
    scope: Scope
    trained: frozenset[str]
    kept_back: frozenset[str]
    status: str
    adapter_id: str | None
    base_model: str
    base_model_id: str
    reason: str
    finished_at: datetime
    fast: bool = False
    """Whether it was asked for without training."""
    method: str | None = None
    """How the adapter was made, once it is."""


def read_facts(
    session: Session, base_model_id: str, fewest: int, *, has_fast: bool = False
) -> Facts:
    """What the policy has to know.

    Args:
        base_model_id: only adapters for this model count as having learnt anything.
        fewest: projects with fewer distillable trajectories are left out.
        has_fast: whether the base model has a way that trains nothing.
    """
    asked = [one for one in read_asked(session) if one.base_model_id == base_model_id]
    # What the schedule had distilled counts as learnt whatever became of the adapter's row.
    done = [
        Learnt(one.scope, one.trained, one.kept_back, one.method in FAST_METHODS)
        for one in asked
        if one.status == "succeeded"
    ]
    stored = _learnt(session, base_model_id, {one.job_id for one in asked})
    lessons = read_lessons(session, fewest)
    return Facts(base_model_id, lessons, [*done, *stored], failures(asked), has_fast)


def read_asked(session: Session) -> list[Asked]:
    """Every distillation that the schedule asked for, oldest first."""
    return [_asked(row) for row in session.connection().execute(text(_ASKED))]


def failures(asked: Sequence[Asked]) -> list[Failure]:
    """The scopes whose last distillation did not end in an adapter; `asked` has one base model."""
    last = {(one.scope, one.fast): one for one in asked}
    return [
        Failure(scope, one.job_id, one.trained | one.kept_back, one.finished_at, one.reason, fast)
        for (scope, fast), one in last.items()
        if one.status in ("failed", "cancelled")
    ]


def read_lessons(
    session: Session, fewest: int = 1, projects: Collection[str] | None = None
) -> list[Lesson]:
    """All that may be learnt or is held out, oldest first, of projects that did not opt out.

    Args:
        fewest: projects with fewer distillable trajectories are left out.
        projects: only of these.
    """
    given = {
        "fewest": fewest,
        "projects": projects if projects is None else json.dumps([*projects]),
    }
    rows = list(session.connection().execute(text(_LESSONS), given))
    tasks = _tasks(rows)
    return [
        Lesson(
            id=row.id,
            project_id=row.project_id,
            domain=row.domain,
            task_type=row.task_type,
            task=tasks[row.id],
            has_tests=bool(row.has_tests),
            held_out=bool(row.held_out),
        )
        for row in rows
    ]


def _tasks(rows: Sequence[Any]) -> dict[str, str]:
    """By trajectory's id: a hash of its task, or of the first one of its project that is near it.

    What is nearly the same is the same task, so that it is learnt from or kept back as one.
    """
    projects: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        projects[row.project_id].append(row)
    found = {}
    for own in projects.values():
        for row, first in zip(own, groups([r.task_description for r in own]), strict=True):
            found[row.id] = _task(own[first].task_description)
    return found


def _task(description: str) -> str:
    """A task is known by its words; how they are spaced and capitalised makes no other task."""
    return hashlib.sha256(" ".join(description.casefold().split()).encode()).hexdigest()


def _learnt(session: Session, base_model_id: str, asked: Collection[str]) -> list[Learnt]:
    """The adapters in store; `asked` are the jobs that the schedule asked for."""
    rows = session.connection().execute(text(_LEARNT), {"base_model_id": base_model_id})
    first: dict[str, Any] = {}
    seen: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        first.setdefault(row.id, row)
        roles = seen.setdefault(row.id, {"trained": set(), "kept_back": set()})
        if row.role is not None:
            roles[row.role].add(row.trajectory_id)
    return [
        Learnt(
            _scope(row.project_id, row.hierarchy_level, row.domain, row.task_type),
            frozenset(seen[i]["trained"]),
            frozenset(seen[i]["kept_back"]),
            fast=row.method in FAST_METHODS,
            stands_in=row.method in FAST_METHODS
            and row.asked == "auto"
            and row.job_id not in asked,
        )
        for i, row in first.items()
    ]


def _scope(project_id: str, level: str, domain: str, task_type: str) -> Scope:
    if level == "project":
        return Scope(project_id)
    return Scope(project_id, domain, task_type if level == "task" else None)


def _asked(row: Any) -> Asked:
    params, payload = json.loads(row.params), json.loads(row.payload)
    result = json.loads(row.result) if row.result else {}
    error = json.loads(row.error) if row.error else {}
    ended = row.finished_at
    return Asked(
        job_id=row.id,
        scope=Scope(params["project_id"], params["domain"], params["task_type"]),
        trained=frozenset(params["trajectory_ids"]),
        kept_back=frozenset(params["kept_back_ids"]),
        status=row.status,
        adapter_id=result.get("adapter_id"),
        base_model=params["base_model"],
        base_model_id=payload["base_model_id"],
        reason=error.get("message", "It was cancelled."),
        finished_at=datetime.fromisoformat(ended) if ended else datetime.now(UTC),
        fast=payload.get("way") == FAST,
        method=result.get("method"),
    )
