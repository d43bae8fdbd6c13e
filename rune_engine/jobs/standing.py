"""What is known of a project's adapters, read from the rows as plain data for `evolution`.

One snapshot a question; changes nothing. A task counts only where it is the user's own and still
stored, where both sides have a verdict, and where the adapter did not learn from it. What a user
has put in use again is judged only by what was measured since.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rune_engine.database import Database
from rune_engine.evaluation.conclusion import outcomes_of
from rune_engine.evaluation.tasks import HeldOutTask, task_hash
from rune_engine.evolution.evidence import Measured, Scope, total
from rune_engine.evolution.guard import Outcomes
from rune_engine.evolution.plan import Facts, Standing
from rune_engine.models import FAST_METHODS, EvaluatedTask, EvaluateResult
from rune_engine.registry.refits import IS_REFIT, REFIT_OF

_IN_USE = """
SELECT id, base_model_id, hierarchy_level, domain, task_type, created_at, file_hash, fitness_score
FROM adapter_records WHERE project_id = ? AND is_archived = 0 ORDER BY created_at, id
"""
_ONE = """
SELECT id, base_model_id, hierarchy_level, domain, task_type, created_at, file_hash, fitness_score
FROM adapter_records WHERE id = ?
"""
_AS_OF = "SELECT coalesce(max(seq), 0) FROM lifecycle_events"
_RESTORED = """
SELECT max(at) FROM lifecycle_events WHERE subject = ? AND kind = 'adapter_restored'
"""
_EVALUATIONS = "SELECT result FROM evaluations WHERE adapter_id = ? ORDER BY seq"
_TRAINED = """
SELECT t.task_description, t.test_suite FROM adapter_trajectories AS l
JOIN trajectories AS t ON t.id = l.trajectory_id WHERE l.adapter_id = ? AND l.role = 'trained'
"""
_REFIT_OF = f"SELECT {REFIT_OF} FROM adapter_records WHERE id = ? AND {IS_REFIT}"
_METHOD = """
SELECT json_extract(j.result, '$.method')
FROM lifecycle_events AS e JOIN jobs AS j ON j.id = e.caused_by
WHERE e.subject = ? AND e.kind = 'adapter_stored' AND j.kind = 'distill'
"""
_STORED = "SELECT id FROM trajectories WHERE id IN (SELECT value FROM json_each(?))"
_LIVE = """
SELECT t.adapter_id, t.domain, t.task_type, t.created_at, a.tests_passed
FROM trajectories AS t JOIN attempts AS a ON a.trajectory_id = t.id AND a.position = 0
WHERE t.project_id = ? AND t.source = 'agent_loop' AND a.tests_passed IS NOT NULL
"""
_HELD_OUT = """
SELECT id, task_description, test_suite, domain, task_type FROM trajectories
WHERE project_id = ? AND test_suite <> '' AND (
    held_out = 1
    OR id IN (SELECT trajectory_id FROM adapter_trajectories WHERE role = 'kept_back')
) ORDER BY created_at DESC, id
"""
_DECIDED = """
SELECT payload FROM lifecycle_events WHERE project_id = ? AND kind = 'evolution_decided'
ORDER BY seq
"""
_DECIDED_BY = """
SELECT payload FROM lifecycle_events WHERE kind = 'evolution_decided' AND caused_by = ?
"""
_PLACES = """
SELECT id, domain, task_type FROM trajectories WHERE id IN (SELECT value FROM json_each(?))
"""


class Standings:
    """Reads what evolution judges by. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, project_id: str) -> Facts:
        """All of a project, as of one moment."""
        with self._database.snapshot() as connection:
            live = list(connection.execute(_LIVE, [project_id]))
            held_out = len(connection.execute(_HELD_OUT, [project_id]).fetchall())
            rows = connection.execute(_IN_USE, [project_id]).fetchall()
            refused, tried = _decided_before(connection, project_id, held_out)
            return Facts(
                project_id=project_id,
                standings=[_with_live(_standing(connection, row), live) for row in rows],
                as_of=connection.execute(_AS_OF).fetchone()[0],
                refused=refused,
                tried=tried,
                held_out=held_out,
            )

    def of(self, adapter_ids: Iterable[str]) -> tuple[list[Standing], int]:
        """These adapters, in use or not, without live outcomes; and the last event of then."""
        with self._database.snapshot() as connection:
            rows = [connection.execute(_ONE, [each]).fetchone() for each in adapter_ids]
            as_of = connection.execute(_AS_OF).fetchone()[0]
            return [_standing(connection, row) for row in rows if row is not None], as_of

    def held_out(
        self, project_id: str, scope: Scope, unknown_to: Iterable[str], *, limit: int
    ) -> list[str]:
        """Trajectories of a scope that are kept for judging, each task once, the newest first.

        Args:
            unknown_to: adapters; what any of them was trained on is left out.
        """
        found: dict[str, str] = {}
        with self._database.snapshot() as connection:
            known = {task for each in unknown_to for task in _trained(connection, each)}
            for each, description, tests, domain, task_type in connection.execute(
                _HELD_OUT, [project_id]
            ):
                task = task_hash(description, tests)
                if scope.covers(domain, task_type) and task not in known:
                    found.setdefault(task, each)
        return list(found.values())[:limit]

    def places(self, tasks: Sequence[HeldOutTask]) -> dict[str, tuple[str, str]]:
        """The domain and the task type of tasks that come from trajectories, by task."""
        of = {str(each.trajectory_id): each.task for each in tasks}
        with self._database.snapshot() as connection:
            rows = connection.execute(_PLACES, [json.dumps(list(of))])
            return {of[row[0]]: (row[1], row[2]) for row in rows}

    def decision_of(self, job_id: str) -> dict[str, Any] | None:
        """What a `consolidate` job has decided, if it has."""
        with self._database.snapshot() as connection:
            found = connection.execute(_DECIDED_BY, [job_id]).fetchone()
            return None if found is None else dict(json.loads(found[0]))


def _standing(connection: sqlite3.Connection, row: Any) -> Standing:
    adapter_id, base_model_id, level, domain, task_type, made, weights, fitness = row
    restored = connection.execute(_RESTORED, [adapter_id]).fetchone()[0] or ""
    outcomes, base = _scores(connection, adapter_id, restored)
    stands_by = None
    if parent := connection.execute(_REFIT_OF, [adapter_id]).fetchone():
        # A refit was measured on nothing; what its parent's tasks are to the base model holds.
        theirs, before = _scores(connection, parent[0], "")
        stands_by, base = Measured(adapter_id, theirs, made, before), before | base
    return Standing(
        measured=Measured(adapter_id, outcomes, made, base, _keeps_up(connection, adapter_id)),
        scope=Scope(
            base_model_id,
            level,
            None if level == "project" else domain,
            task_type if level == "task" else None,
        ),
        weights=weights,
        last_used=restored,
        fitness=fitness,
        stands_by=stands_by,
    )


def _keeps_up(connection: sqlite3.Connection, adapter_id: str) -> bool:
    method = connection.execute(_METHOD, [adapter_id]).fetchone()
    return method is not None and method[0] in FAST_METHODS


def _scores(
    connection: sqlite3.Connection, adapter_id: str, since: str
) -> tuple[dict[str, float], dict[str, float]]:
    """By task, with the adapter and with the base model alone: what was measured of it last."""
    judged: dict[str, EvaluatedTask] = {}
    for (text,) in connection.execute(_EVALUATIONS, [adapter_id]):
        result = EvaluateResult.model_validate_json(text)
        if result.created_at >= since and result.settings.criterion == "tests":
            own = (each for each in result.per_task if each.trajectory_id is not None)
            judged |= {each.task: each for each in own if each.group == "held_out"}
    ids = json.dumps([each.trajectory_id for each in judged.values()])
    stored = {row[0] for row in connection.execute(_STORED, [ids])}
    known = _trained(connection, adapter_id)
    kept = [
        each for each in judged.values() if each.trajectory_id in stored and each.task not in known
    ]
    both = outcomes_of(kept)
    return {t: ours for t, (ours, _) in both.items()}, {t: base for t, (_, base) in both.items()}


def _trained(connection: sqlite3.Connection, adapter_id: str) -> set[str]:
    return {task_hash(*row) for row in connection.execute(_TRAINED, [adapter_id])}


def _with_live(standing: Standing, live: Iterable[Any]) -> Standing:
    """The standing with live outcomes: the base model's are since the adapter was made, and those
    on the tasks that it was measured on with it."""
    own, base, used = [0, 0], [0, 0], standing.last_used
    for adapter_id, domain, task_type, at, passed in live:
        if adapter_id == standing.adapter_id:
            if at >= standing.last_used:
                own = [own[0] + passed, own[1] + 1]
            used = max(used, at)
        elif (
            adapter_id is None
            and at >= standing.measured.made
            and standing.scope.covers(domain, task_type)
        ):
            base = [base[0] + passed, base[1] + 1]
    measured = standing.measured.base
    without = Outcomes(base[0] + round(total(measured)), base[1] + len(measured))
    return replace(standing, live=Outcomes(*own), without=without, last_used=used)


def _decided_before(
    connection: sqlite3.Connection, project_id: str, held_out: int
) -> tuple[frozenset[tuple[str, str]], frozenset[frozenset[str]]]:
    """Promotions that need no second look, and pairs that were tried together.

    A promotion that was declined is looked at again once there is more to judge it by.
    """
    refused: dict[tuple[str, str], bool] = defaultdict(bool)
    tried: set[frozenset[str]] = set()
    for (text,) in connection.execute(_DECIDED, [project_id]):
        payload = json.loads(text)
        if payload["operation"] == "promote":
            key = payload["adapter_ids"][0], payload["numbers"]["level"]
            more = payload["numbers"].get("held_out", 0) < held_out
            refused[key] = payload["decision"] == "promoted" or not more
        elif payload["operation"] == "consolidate":
            tried.add(frozenset(payload["adapter_ids"]))
    return frozenset(key for key, value in refused.items() if value), frozenset(tried)
