"""Replaces a SQLite database by another one in one step, and keeps the one that was there.

The danger is the old one's write-ahead log: left beside the new file it would be taken for the new
one's. So it is folded into the old file first. Nobody else may have either of them open.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from rune_engine.durable import flush_folder, flush_to_disk
from rune_engine.errors import BackupError

_LOGS = ("-wal", "-shm", "-journal")


def swap_database(new: Path, place: Path) -> Path | None:
    """Put `new` in `place` durably; where what was there is now.

    Raises:
        BackupError: another program has one of them open; nothing was changed.
        OSError: nothing was changed either.
    """
    _use_wal(new)
    _flush(new)
    _drop_second_names(place)
    kept = None
    if place.exists():
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        kept = place.with_name(f"{place.name}.before-restore-{stamp}")
        _fold_log(place, kept)
        os.link(place, kept)
        flush_folder(place.parent)
    new.replace(place)
    flush_folder(place.parent)
    return kept


def swap_tracking(new: Path, place: Path) -> None:
    """Put MLflow's database in its place, when the backup has one. It only tells of trainings:
    killed just before, the former one stays."""
    if not new.exists():
        return
    new.chmod(0o600)
    for log in _LOGS:
        place.with_name(place.name + log).unlink(missing_ok=True)
    new.replace(place)
    flush_folder(place.parent)


def _use_wal(path: Path) -> None:
    """Recorded in the file; a copy by VACUUM has the default mode."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    if _log_left(path):
        raise _in_use(path)


def _fold_log(path: Path, kept: Path) -> None:
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError:
        # Too damaged to be opened: its log is kept as it is, beside it.
        for log in _LOGS:
            beside = path.with_name(path.name + log)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + log))
    if _log_left(path):
        raise _in_use(path)


def _log_left(path: Path) -> bool:
    """The last one who closes a database removes its log."""
    return path.with_name(f"{path.name}-wal").exists()


def _in_use(path: Path) -> BackupError:
    return BackupError(
        f"Another program has {path} open.",
        next_step="End it (`fuser` shows which one it is), then restore again.",
    )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)


def _drop_second_names(place: Path) -> None:
    """A restore that was killed between its last two steps left the database with two names."""
    for kept in place.parent.glob(f"{place.name}.before-restore-*"):
        if place.exists() and kept.samefile(place):
            kept.unlink()
