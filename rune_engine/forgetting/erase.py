"""Erases what a forgetting concerns: one transaction, then no byte of it in the files.

The transaction first writes the erasures that alone make deleting lawful, then retires every
adapter that learnt from them, then deletes. After it the database file is rewritten, because a
deleted row's bytes stay in it otherwise. Knows nothing of running jobs: end them first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from rune_engine import events, statistic_files
from rune_engine.config import RuneConfig
from rune_engine.database import Database, utc_now
from rune_engine.forgetting import scope as scopes
from rune_engine.forgetting import traces
from rune_engine.gguf.cache import forget_adapters
from rune_engine.models import ForgetParams, ForgetReport, ForgottenAdapter
from rune_engine.registry.lifecycle import mark_forgotten
from rune_engine.trajectories.records import ErasureRecord

_DELETES = {
    "captured_tasks": ("trajectory_id", "trajectories"),
    "captured_sessions": ("session_id", "sessions"),
    "attempts": ("trajectory_id", "trajectories"),
    "trajectories": ("id", "trajectories"),
    "sessions": ("id", "sessions"),
    "job_steps": ("job_id", "jobs"),
    "jobs": ("id", "jobs"),
}
"""Which column of a table names what is erased; in an order that no foreign key minds."""


@dataclass(frozen=True, slots=True)
class _Plan:
    scope: scopes.Scope
    adapters: list[ForgottenAdapter]
    lines: list[bytes]


class Forgetting:
    """Forgets in one home."""

    def __init__(self, database: Database, config: RuneConfig) -> None:
        self._database = database
        self._config = config

    def unfinished_jobs(self, params: ForgetParams) -> list[str]:
        """Jobs to end before `forget`: they could write what is to be erased once more."""
        with self._database.reading() as session:
            return scopes.unfinished_jobs(session, params)

    def look(self, params: ForgetParams) -> ForgetReport:
        """What `forget` would do; changes nothing.

        Raises:
            NotFoundError: nothing is stored of that project or session.
        """
        with self._database.reading() as session:
            return _report(params, _plan(session, params), done=False)

    def forget(self, params: ForgetParams) -> ForgetReport:
        """Erase it, retire what learnt from it, and look for what is left.

        Doing it again after an interruption finishes what is left to do.

        Raises:
            NotFoundError: nothing is stored of that project or session.
            StorageError: it could not be written; either all of it is erased or nothing.
        """
        with self._database.writing() as session:
            plan = _plan(session, params)
            _erase(session, params, plan)
        backups = traces.backups(events.EventLog(self._database).history(limit=events.MAX_PAGE))
        removed = traces.remove_old_databases(self._config.home)
        removed += forget_adapters(self._config.gguf_path, self._forgotten_weights())
        removed += statistic_files.forget(self._config.statistics_path, self._held)
        self._database.compact()
        proof = traces.search(self._config.home, plan.lines, self._is_still_held)
        proof = proof.model_copy(update={"backups": backups, "removed": [*removed, *proof.removed]})
        return _report(params, plan, done=True).model_copy(update={"proof": proof})

    def remaining(self, adapter_id: str) -> dict[str, str]:
        """What an adapter learnt from and is still stored: each trajectory's id and role."""
        query = text(
            "SELECT trajectory_id, role FROM adapter_trajectories AS learnt"
            " JOIN trajectories ON trajectories.id = trajectory_id WHERE learnt.adapter_id = :id"
        )
        with self._database.reading() as session:
            rows = session.connection().execute(query, {"id": adapter_id})
            return {row.trajectory_id: row.role for row in rows}

    def _held(self) -> set[str]:
        """The content hashes of the trajectories that are stored."""
        with self._database.reading() as session:
            rows = session.connection().execute(text("SELECT content_hash FROM trajectories"))
            return set(rows.scalars())

    def _forgotten_weights(self) -> list[str]:
        """The hash of every forgotten adapter's weights, of those forgotten before, too."""
        query = text("SELECT file_hash FROM adapter_records WHERE forgotten_at IS NOT NULL")
        with self._database.reading() as session:
            return list(session.connection().execute(query).scalars())

    def _is_still_held(self, line: bytes) -> bool:
        """Whether a trajectory that stays has the same line."""
        query = text(
            "SELECT EXISTS (SELECT 1 FROM trajectories WHERE instr(task_description, :line)"
            " OR instr(test_suite, :line)) OR EXISTS (SELECT 1 FROM attempts WHERE"
            " instr(generated_code, :line) OR instr(stdout, :line) OR instr(stderr, :line))"
        )
        with self._database.reading() as session:
            row = session.connection().execute(query, {"line": line.decode()})
            return bool(row.scalar())


def _plan(session: Session, params: ForgetParams) -> _Plan:
    found = scopes.find(session, params)
    return _Plan(
        scope=found,
        adapters=scopes.dependent_adapters(session, found),
        lines=traces.distinctive_lines(scopes.texts(session, found)),
    )


def _erase(session: Session, params: ForgetParams, plan: _Plan) -> None:
    now, connection = utc_now(), session.connection()
    session.add_all(
        ErasureRecord(
            trajectory_id=trajectory.id,
            session_id=trajectory.session_id,
            content_hash=trajectory.content_hash,
            at=now,
        )
        for trajectory in plan.scope.trajectories
    )
    session.flush()
    mark_forgotten(session, [each.adapter_id for each in plan.adapters], caused_by="user")
    ids = {
        "trajectories": plan.scope.trajectory_ids,
        "sessions": list(plan.scope.session_ids),
        "jobs": list(plan.scope.job_ids),
    }
    for table, (column, named) in _DELETES.items():
        connection.execute(
            text(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(:ids))"),
            {"ids": json.dumps(ids[named])},
        )
    events.append(
        session,
        "trajectories_erased",
        params.subject,
        project_id=params.project_id,
        scope=params.subject_kind,
        trajectories=len(plan.scope.trajectories),
        jobs=len(plan.scope.job_ids),
        adapters=[each.adapter_id for each in plan.adapters],
    )


def _report(params: ForgetParams, plan: _Plan, *, done: bool) -> ForgetReport:
    return ForgetReport(
        scope=params.subject_kind,
        subject=params.subject,
        done=done,
        trajectory_ids=plan.scope.trajectory_ids,
        sessions=len(plan.scope.session_ids),
        jobs=len(plan.scope.job_ids),
        adapters=plan.adapters,
    )
