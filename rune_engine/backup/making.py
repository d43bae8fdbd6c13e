"""Makes a backup while the engine may be writing.

The database first, as one snapshot; then the files of the adapters that the snapshot names. They
are written once and never change, so they are as they were at that moment. An adapter whose files
are damaged is left out and named; the rest is worth having.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import rune_engine
from rune_engine import events
from rune_engine.backup import archive
from rune_engine.backup.archive import BackupReport, DamagedAdapter, Manifest
from rune_engine.backup.snapshot import StoredAdapter, check_database, contents, take_snapshot
from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database, utc_now
from rune_engine.durable import flush_folder, flush_to_disk
from rune_engine.errors import BackupError
from rune_engine.home import not_writable
from rune_engine.registry.files import CONFIG_NAME, WEIGHTS_NAME
from rune_engine.storage_errors import storage_errors

_PRIVATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make_backup(config: RuneConfig, target: Path) -> BackupReport:
    """Write a backup of the home to `target`, and read it again.

    Raises:
        BackupError: there is nothing to back up, `target` exists, or the database is damaged.
        DiskFullError, HomeNotWritableError: `target` cannot be written.
        StorageError: the database cannot be read.
    """
    target = target.expanduser().absolute()
    _check(config, target)
    database = open_database(config)
    try:
        with _target_errors(target), _partial(target) as partial:
            manifest = _write(config, partial, compressed=archive.is_compressed(target))
            archive.read(partial)
            partial.rename(target)
            flush_folder(target.parent)
        report = BackupReport(
            path=str(target),
            size=target.stat().st_size,
            adapters=manifest.adapters,
            trajectories=manifest.trajectories,
            damaged=manifest.damaged,
        )
        _tell(database, report)
    finally:
        database.close()
    return report


def _check(config: RuneConfig, target: Path) -> None:
    if not config.database_path.exists():
        raise BackupError(
            f"There is nothing to back up: {config.home} has no database.",
            next_step="Point RUNE_HOME at the home that you mean.",
        )
    if os.path.lexists(target):
        raise BackupError(f"{target} exists already.", next_step="Choose another name.")
    if not target.parent.is_dir():
        raise BackupError(f"There is no folder {target.parent}.", next_step="Make it first.")


def _write(config: RuneConfig, partial: Path, *, compressed: bool) -> Manifest:
    copies = [partial.with_name(f"{partial.name}.{name}") for name in ("db", "tracking")]
    try:
        with storage_errors(config.home):
            take_snapshot(config.database_path, copies[0])
        check_database(copies[0])
        if config.tracking_path.exists():
            take_snapshot(config.tracking_path, copies[1])
        with partial.open("r+b") as file:
            manifest = _write_members(config, file, copies, compressed)
            file.flush()
            flush_to_disk(file.fileno())
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)
    return manifest


def _write_members(
    config: RuneConfig, file: BinaryIO, copies: list[Path], compressed: bool
) -> Manifest:
    found = contents(copies[0])
    damaged = []
    with archive.writing(file, compressed=compressed) as writer:
        writer.add_file(archive.DATABASE, copies[0])
        if copies[1].exists():
            writer.add_file(archive.TRACKING, copies[1])
        written: set[str] = set()
        for adapter in found.adapters:
            why = _add_adapter(writer, config, adapter, written)
            if why and adapter.forgotten_at is None:
                damaged.append(DamagedAdapter(id=adapter.id, why=why))
        manifest = Manifest(
            format=archive.FORMAT,
            rune_version=rune_engine.__version__,
            revision=found.revision,
            created_at=utc_now(),
            adapters=len(found.adapters),
            trajectories=found.trajectories,
            members=writer.members,
            damaged=damaged,
        )
        writer.finish(manifest)
    return manifest


def _add_adapter(
    writer: archive.Writer, config: RuneConfig, adapter: StoredAdapter, written: set[str]
) -> str | None:
    """Add an adapter's files; why not, when there is no good copy of one."""
    folder = config.adapters_path / adapter.id
    weights = _good_copy(
        [folder / WEIGHTS_NAME, config.home / adapter.object_name], adapter.file_hash
    )
    settings = _good_copy([folder / CONFIG_NAME], adapter.config_hash)
    if weights is None or settings is None:
        return f"its {'weights' if weights is None else 'configuration'} are damaged or missing"
    for name, path, sha256 in (
        (adapter.object_name, weights, adapter.file_hash),
        (adapter.config_name, settings, adapter.config_hash),
    ):
        if name in written:
            continue
        written.add(name)
        with path.open("rb") as file:
            if writer.add(name, file, path.stat().st_size) != sha256:
                raise BackupError(
                    f"{path} changed while it was copied.",
                    next_step="Run `rune doctor --data`, then make the backup again.",
                )
    return None


def _good_copy(candidates: list[Path], sha256: str) -> Path | None:
    for path in candidates:
        if not path.is_file() or path.is_symlink():
            continue
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    return path
        except OSError:
            continue  # a disk that cannot read it: as damaged as if it read something else
    return None


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A private file beside `target`, gone unless it was renamed."""
    path = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    os.close(os.open(path, _PRIVATE, 0o600))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _target_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise not_writable(target, error) from error
    except sqlite3.Error as error:
        raise BackupError(
            f"The snapshot for {target} could not be written: {error}.",
            next_step="See that its disk has space for the database twice, then try again.",
        ) from error


def _tell(database: Database, report: BackupReport) -> None:
    facts = report.model_dump(exclude={"damaged"})
    damaged = [adapter.id for adapter in report.damaged]
    events.EventLog(database).append("backup_made", "home", **facts, damaged=damaged)
