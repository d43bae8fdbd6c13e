"""Examines everything that a home stores, and mends what it is told to.

Examining changes nothing and may run beside the engine. Mending holds the engine's lock, goes
finding by finding, and writes each down as an event; what a row refers to is never deleted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rune_engine import events
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.doctor import files, leftovers, lineage, tables
from rune_engine.doctor.findings import DataReport, Finding, Problem, Tools
from rune_engine.doctor.ground import Ground, is_current, opened
from rune_engine.errors import EngineRunningError
from rune_engine.home import open_lock, try_lock
from rune_engine.registry.quarantine import Quarantine
from rune_engine.storage_errors import storage_errors

Examination = Callable[[Ground], Iterator[Problem]]
_ALWAYS: tuple[Examination, ...] = (tables.damage, leftovers.permissions)
_OF_ROWS: tuple[Examination, ...] = (
    files.adapters,
    tables.projection,
    lineage.lineage,
    leftovers.jobs,
    files.unreferred,
    leftovers.statistics,
)
_HOPELESS = {"database_damaged", "database_too_new"}
"""With one of these nothing is mended: it would be done on ground that does not hold."""


def examine(config: RuneConfig) -> DataReport:
    """Look at everything; change nothing.

    Raises:
        StorageError: a file cannot be read for another reason than being damaged.
    """
    return _examine(config)[0]


def repair(config: RuneConfig) -> DataReport:
    """Examine, then mend what can be mended.

    Raises:
        EngineRunningError: the home's engine runs.
        StorageError: a repair failed; those before it are done.
    """
    with _no_engine(config):
        report, problems = _examine(config)
        if any(finding.kind in _HOPELESS for finding in report.findings) or not problems:
            return report
        quarantine = Quarantine(config.home)
        with storage_errors(config.home):
            mended = _mend(config, problems, quarantine)
    folder = str(quarantine.folder) if quarantine.moved else None
    return report.model_copy(update={"findings": mended, "quarantine": folder})


def _examine(config: RuneConfig) -> tuple[DataReport, list[Problem]]:
    if not config.database_path.exists():
        notes = [f"{config.home} has no database yet."]
        return _report(config, [], notes=notes), []
    problems = leftovers.log_left(config.database_path.resolve())
    with storage_errors(config.home):
        try:
            with opened(config) as ground:
                problems += _problems(ground)
                return _whole_report(config, ground, problems), problems
        except sqlite3.DatabaseError as error:
            problems.append(tables.unmendable("database_damaged", "rune.db", f"{error}.", _LOST))
            return _report(config, problems), problems


_LOST = (
    "It cannot be read. Stop the engine, keep a copy of rune.db, and restore a backup with "
    "`rune restore --replace`."
)


def _problems(ground: Ground) -> list[Problem]:
    found = [problem for examination in _ALWAYS for problem in examination(ground)]
    if any(problem.finding.kind in _HOPELESS for problem in found):
        return found
    if not is_current(ground):
        ground.notes.append("An older Rune made the database; the next start brings it up to date.")
        return found
    return found + [problem for examination in _OF_ROWS for problem in examination(ground)]


def _whole_report(config: RuneConfig, ground: Ground, problems: list[Problem]) -> DataReport:
    if any(problem.finding.kind in _HOPELESS for problem in problems):
        return _report(config, problems, notes=ground.notes)
    return _report(
        config,
        problems,
        adapters=ground.count("adapter_records"),
        trajectories=ground.count("trajectories"),
        bytes_hashed=ground.bytes_hashed,
        notes=ground.notes,
    )


def _report(
    config: RuneConfig,
    problems: list[Problem],
    *,
    adapters: int = 0,
    trajectories: int = 0,
    bytes_hashed: int = 0,
    notes: list[str] | None = None,
) -> DataReport:
    return DataReport(
        home=str(config.home),
        adapters=adapters,
        trajectories=trajectories,
        bytes_hashed=bytes_hashed,
        findings=[problem.finding for problem in problems],
        notes=notes or [],
    )


def _mend(config: RuneConfig, problems: list[Problem], quarantine: Quarantine) -> list[Finding]:
    database = open_database(config)
    try:
        tools = Tools(config, database, quarantine)
        return [_mend_one(tools, problem) for problem in problems]
    finally:
        database.close()


def _mend_one(tools: Tools, problem: Problem) -> Finding:
    if problem.mend is None:
        return problem.finding
    problem.mend(tools)
    facts = problem.finding.model_dump(include={"what", "repair"})
    events.EventLog(tools.database).append(
        "data_repaired", problem.finding.subject, finding=problem.finding.kind, **facts
    )
    return problem.finding.model_copy(update={"repaired": True})


@contextmanager
def _no_engine(config: RuneConfig) -> Iterator[None]:
    if not config.home.is_dir():
        yield
        return
    lock = open_lock(config.lock_path)
    try:
        if not try_lock(lock):
            raise EngineRunningError(
                f"The engine of {config.home} is running; repairs need the data to stand still.",
                next_step="Stop it with `rune engine stop`, then repair.",
            )
        yield
    finally:
        os.close(lock)
