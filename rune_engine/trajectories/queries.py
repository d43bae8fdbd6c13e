"""Every SQL statement that reads or adds trajectories, and how rows become a `Trajectory`.

Each that reads is answered in the order of an index: none is sorted, and none but the counts reads
more rows than it answers. A test holds their plans.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from rune_engine.models import Attempt, Trajectory, TrajectoryDraft
from rune_engine.readers import Row

_FIELDS = tuple(name for name in Trajectory.model_fields if name != "attempts")
_ATTEMPT_FIELDS = tuple(Attempt.model_fields)
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM trajectories"
_TASK_CHARS = 200
"""How much of a task's description a list shows."""
_SUMMARY = (
    f"SELECT id, project_id, session_id, created_at, substr(task_description, 1, {_TASK_CHARS}),"
    " task_type, domain, outcome,"
    " (SELECT count(*) FROM attempts WHERE trajectory_id = trajectories.id),"
    " held_out, source, agent_id FROM trajectories"
)
_VERDICT = _ATTEMPT_FIELDS.index("verdict")
_PROVENANCE = _FIELDS.index("provenance")
_NEWEST = "ORDER BY created_at DESC, id DESC"
_OLDEST = "ORDER BY created_at, id"

BY_ID = f"{_SELECT} WHERE id = ?"
CONSENT = (
    "SELECT kind, max(seq) FROM lifecycle_events"
    " WHERE subject = ? AND kind IN ('project_opted_out', 'project_opted_in')"
)
"""The newest word of a project's user, or NULL."""
BEFORE_RECORDING = (
    f"SELECT (SELECT kind FROM ({CONSENT})),"
    " (SELECT id FROM trajectories WHERE content_hash = ?),"
    " (SELECT at FROM erasures WHERE content_hash = ? OR trajectory_id = ?)"
)
"""In one statement: its project's consent, the same trajectory, when that was forgotten (which an
id that is always the same for the same source tells, too)."""
KNOWN = (
    "SELECT id FROM trajectories WHERE id IN (SELECT value FROM json_each(?)) AND +project_id = ?"
)
"""Any number of ids is one parameter, a JSON list; SQLite bounds the number of parameters."""
ATTEMPTS = (
    f"SELECT trajectory_id, position, {', '.join(_ATTEMPT_FIELDS)} FROM attempts"
    " WHERE trajectory_id IN (SELECT value FROM json_each(?))"
)
WORKSPACES = (
    "SELECT workspace FROM trajectories WHERE project_id = ? AND workspace IS NOT NULL"
    f" {_NEWEST} LIMIT ?"
)
"""Where a project's code lay, as its newest trajectories say."""
COUNT_DISTILLABLE = "SELECT count(*) FROM trajectories WHERE project_id = ? AND distillable = 1"
COUNTS = (
    "SELECT project_id, count(*), sum(distillable), sum(held_out), sum(outcome = 'unknown')"
    " FROM trajectories"
    " GROUP BY project_id ORDER BY project_id"
)
ADD_SESSION = (
    "INSERT INTO sessions (id, project_id, agent_id, created_at) SELECT ?, ?, ?, ?"
    " WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE id = ?)"
)
ADD_TRAJECTORY = (
    f"INSERT INTO trajectories ({', '.join(_FIELDS)}, distillable)"
    f" VALUES ({', '.join('?' * len(_FIELDS))}, ?)"
)
ADD_ATTEMPT = (
    f"INSERT INTO attempts (trajectory_id, position, {', '.join(_ATTEMPT_FIELDS)})"
    f" VALUES (?, ?, {', '.join('?' * len(_ATTEMPT_FIELDS))})"
)


class Asks(Protocol):
    """Whatever runs a statement: a snapshot's connection, or a transaction's."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Iterable[Row]: ...


def page(conditions: dict[str, str]) -> tuple[str, str]:
    """The count, and the rows newest first; the second takes a limit and an offset too."""
    where = _where(f"{name} = ?" for name in conditions)
    return (
        f"SELECT count(*) FROM trajectories{where}",
        f"{_SELECT}{where} {_NEWEST} LIMIT ? OFFSET ?",
    )


def summaries(conditions: dict[str, str]) -> tuple[str, str]:
    """As `page`, with the columns of `TrajectorySummary` in the order of its fields."""
    count, newest = page(conditions)
    return count, newest.replace(_SELECT, _SUMMARY)


def distillable(conditions: dict[str, str]) -> str:
    """What a distillation would learn from, oldest first."""
    where = _where([*(f"{name} = ?" for name in conditions), "distillable = 1"])
    return f"{_SELECT}{where} {_OLDEST}"


def held_out(conditions: dict[str, str]) -> str:
    """Those that are held out and have tests, newest first; it takes a limit too."""
    where = _where([*(f"{name} = ?" for name in conditions), "held_out = 1", "test_suite <> ''"])
    return f"{_SELECT}{where} {_NEWEST} LIMIT ?"


def teaching(conditions: dict[str, str]) -> str:
    """Those among a JSON list of ids that a distillation would learn from, in no order."""
    rest = (f"+{name} = ?" for name in conditions)
    where = _where(["id IN (SELECT value FROM json_each(?))", *rest, "+distillable = 1"])
    return f"{_SELECT}{where}"


def whole(connection: Asks, rows: Iterable[Row]) -> list[Trajectory]:
    """The trajectories of `_SELECT`'s rows with their attempts, in the order given."""
    found = [_trajectory(row) for row in rows]
    attempts: dict[str, list[Row]] = {data["id"]: [] for data in found}
    for row in connection.execute(ATTEMPTS, [json.dumps(list(attempts))]):
        attempts[row[0]].append(row)
    return [
        Trajectory.model_validate(data | {"attempts": _attempts(attempts[data["id"]])})
        for data in found
    ]


def trajectory_row(trajectory: Trajectory, distillable: bool) -> list[Any]:
    """The parameters of `ADD_TRAJECTORY`."""
    values = [getattr(trajectory, name) for name in _FIELDS]
    if trajectory.provenance is not None:
        values[_PROVENANCE] = trajectory.provenance.model_dump_json()
    return [*values, distillable]


def attempt_rows(trajectory_id: str, draft: TrajectoryDraft) -> list[list[Any]]:
    """The parameters of `ADD_ATTEMPT`, one list an attempt."""
    return [
        [trajectory_id, position, *_attempt_values(attempt)]
        for position, attempt in enumerate(draft.attempts)
    ]


def _trajectory(row: Row) -> dict[str, Any]:
    data = dict(zip(_FIELDS, row, strict=True))
    if data["provenance"] is not None:
        data["provenance"] = json.loads(data["provenance"])
    return data


def _attempts(rows: list[Row]) -> list[dict[str, Any]]:
    rows.sort(key=lambda row: int(row[1]))
    return [_attempt(row[2:]) for row in rows]


def _attempt(values: Row) -> dict[str, Any]:
    data = dict(zip(_ATTEMPT_FIELDS, values, strict=True))
    if data["verdict"] is not None:
        data["verdict"] = json.loads(data["verdict"])
    return data


def _attempt_values(attempt: Attempt) -> list[Any]:
    values = [getattr(attempt, name) for name in _ATTEMPT_FIELDS]
    if attempt.verdict is not None:
        values[_VERDICT] = json.dumps(attempt.verdict)
    return values


def _where(conditions: Iterable[str]) -> str:
    joined = " AND ".join(conditions)
    return f" WHERE {joined}" if joined else ""
