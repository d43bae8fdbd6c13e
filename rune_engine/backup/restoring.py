"""Puts a backup in place of what a home holds; killed at any moment, one of the two is there whole.

Everything is unpacked beside and checked first. Then the adapters' files are placed: they are
written once, so those that are good already stay, and what is placed is nothing to the old
database. One rename of the database file is the moment at which the backup is there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rune_engine import events, migrations
from rune_engine.backup import archive, forgotten
from rune_engine.backup.archive import DamagedAdapter, Manifest, RestoreReport
from rune_engine.backup.snapshot import Contents, StoredAdapter, check_database, contents
from rune_engine.backup.swap import swap_database, swap_tracking
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.durable import flush_folder, make_folder, new_file
from rune_engine.errors import (
    AdapterCorruptedError,
    BackupError,
    EngineRunningError,
    InvalidInputError,
)
from rune_engine.file_systems import require_local
from rune_engine.home import open_lock, prepare_home, try_lock
from rune_engine.registry import lifecycle
from rune_engine.registry.files import CONFIG_NAME, WEIGHTS_NAME, AdapterFiles, Stored
from rune_engine.registry.quarantine import Quarantine
from rune_engine.storage_errors import storage_errors

_STAGING = "restore-*"


def restore_backup(config: RuneConfig, source: Path, *, replace: bool = False) -> RestoreReport:
    """Restore a backup into the home, which must be empty or is to be replaced.

    Raises:
        EngineRunningError: the home's engine runs.
        BackupError: the backup cannot be used, or the home is in use; nothing was changed.
        DiskFullError, HomeNotWritableError, StorageError: what was there is there still.
    """
    require_local(config.home)
    with storage_errors(config.home), _alone(config):
        _refuse_used(config, replace)
        for left in config.home.glob(_STAGING):
            shutil.rmtree(left, ignore_errors=True)
        staging = config.home / _STAGING.replace("*", uuid.uuid4().hex[:8])
        staging.mkdir(mode=0o700)
        try:
            return _Restore(config, source, staging).run()
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _alone(config: RuneConfig) -> Iterator[None]:
    """Hold the engine's lock: no engine runs, and none can start."""
    prepare_home(config)
    lock = open_lock(config.lock_path)
    try:
        if not try_lock(lock):
            raise EngineRunningError(
                f"The engine of {config.home} is running; a restore replaces what it works with.",
                next_step="Stop it with `rune engine stop`, then restore.",
            )
        yield
    finally:
        os.close(lock)


def _refuse_used(config: RuneConfig, replace: bool) -> None:
    used = [config.database_path, *_entries(config.adapters_path)]
    if not replace and any(os.path.lexists(path) for path in used):
        raise BackupError(
            f"{config.home} is in use already.",
            next_step="Restore with --replace: its database is kept beside the restored one. Or "
            "point RUNE_HOME at an empty folder.",
        )


class _Restore:
    """One restore; holds what its steps hand on."""

    def __init__(self, config: RuneConfig, source: Path, staging: Path) -> None:
        self._config = config
        self._source = source.expanduser().absolute()
        self._staging = staging
        self._staged = config.model_copy(update={"home": staging})
        self._files = AdapterFiles(config)
        self._quarantine = Quarantine(config.home)

    def run(self) -> RestoreReport:
        manifest = self._unpack()
        found = self._check(manifest)
        forgotten_again = self._finish_database(found)
        damaged = self._place(found)
        adapters = [adapter.id for adapter in found.adapters]
        self._tell(manifest, damaged)
        kept = swap_database(self._staged.database_path, self._config.database_path)
        swap_tracking(self._staged.tracking_path, self._config.tracking_path)
        self._set_aside(found)
        return RestoreReport(
            path=str(self._source),
            made_at=manifest.created_at,
            adapters=len(adapters),
            trajectories=manifest.trajectories - forgotten_again,
            damaged=damaged,
            forgotten_again=forgotten_again,
            kept_database=kept and str(kept),
            quarantine=str(self._quarantine.folder) if self._quarantine.moved else None,
        )

    # --- beside ------------------------------------------------------------------------------

    def _unpack(self) -> Manifest:
        def sink(name: str) -> archive.Target:
            path = self._staging / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return new_file(path)

        if not self._source.is_file():
            raise BackupError(f"There is no backup {self._source}.", next_step="See its path.")
        return archive.read(self._source, sink)

    def _check(self, manifest: Manifest) -> Contents:
        """Refuse a database that is damaged, newer, or another one than the manifest's."""
        path = self._staged.database_path
        check_database(path)
        found = contents(path)
        if not migrations.is_known(found.revision):
            raise BackupError(
                f"The backup {self._source} was made by a newer Rune ({manifest.rune_version}).",
                next_step="Update Rune, then restore it.",
            )
        members = {member.name for member in manifest.members}
        left_out = {adapter.id for adapter in manifest.damaged}
        for adapter in found.adapters:
            complete = {adapter.object_name, adapter.config_name} <= members
            if not complete and adapter.id not in left_out and adapter.forgotten_at is None:
                raise BackupError(
                    f"The backup {self._source} lacks the files of adapter {adapter.id}.",
                    next_step="Use another backup; nothing was changed.",
                )
        return found

    def _finish_database(self, found: Contents) -> int:
        """Bring it to this Rune's revision; forget in it what was forgotten since."""
        self._staged.database_path.chmod(0o600)
        database = open_database(self._staged)
        try:
            return forgotten.forget_again(self._config.database_path, database)
        finally:
            database.close()

    def _tell(self, manifest: Manifest, damaged: list[DamagedAdapter]) -> None:
        database = open_database(self._staged)
        try:
            with database.writing() as session:
                for adapter in damaged:
                    lifecycle.archive(session, adapter.id, reason=adapter.why)
                    events.append(session, "data_repaired", adapter.id, finding="adapter_damaged")
                events.append(
                    session,
                    "backup_restored",
                    "home",
                    path=str(self._source),
                    made_at=manifest.created_at,
                    damaged=[adapter.id for adapter in damaged],
                )
        finally:
            database.close()

    # --- in place ----------------------------------------------------------------------------

    def _place(self, found: Contents) -> list[DamagedAdapter]:
        """Give every adapter its files; those of which there is no good copy."""
        self._files.prepare()
        before = self._before()
        damaged = []
        for adapter in found.adapters:
            if self._is_good(adapter):
                continue
            self._refuse_conflict(adapter, before.get(adapter.id))
            if (self._staging / adapter.object_name).exists() and (
                self._staging / adapter.config_name
            ).exists():
                self._place_object(adapter)
                self._place_folder(adapter)
            elif adapter.forgotten_at is None:
                why = "its files were damaged when the backup was made"
                damaged.append(DamagedAdapter(id=adapter.id, why=why))
        return damaged

    def _before(self) -> dict[str, StoredAdapter]:
        """The adapters of the old database, where it can still be read."""
        with suppress(BackupError):
            if self._config.database_path.exists():
                return {a.id: a for a in contents(self._config.database_path).adapters}
        return {}

    def _is_good(self, adapter: StoredAdapter) -> bool:
        stored = Stored(adapter.file_hash, adapter.config_hash, adapter.file_size_bytes)
        with suppress(AdapterCorruptedError, InvalidInputError):
            self._files.verify(adapter.id, stored)
            return _has(self._config.home / adapter.object_name, adapter.file_hash)
        return False

    def _refuse_conflict(self, adapter: StoredAdapter, old: StoredAdapter | None) -> None:
        """The old database must stay whole until the new one is there."""
        if old is not None and old != adapter and self._is_good(old):
            raise BackupError(
                f"Adapter {adapter.id} of the backup is another one than the home's of that id.",
                next_step="Restore into an empty home instead.",
            )

    def _place_object(self, adapter: StoredAdapter) -> None:
        target = self._config.home / adapter.object_name
        make_folder(target.parent)
        if os.path.lexists(target):
            if _has(target, adapter.file_hash):
                return
            self._quarantine.take(target)
        os.link(self._staging / adapter.object_name, target)
        flush_folder(target.parent)

    def _place_folder(self, adapter: StoredAdapter) -> None:
        folder = self._staging / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        os.link(self._config.home / adapter.object_name, folder / WEIGHTS_NAME)
        os.link(self._staging / adapter.config_name, folder / CONFIG_NAME)
        flush_folder(folder)
        final = self._config.adapters_path / adapter.id
        if os.path.lexists(final):
            self._quarantine.take(final)
        folder.rename(final)
        flush_folder(final.parent)

    def _set_aside(self, found: Contents) -> None:
        """What belonged to the old database alone would be swept away sooner or later."""
        folders = {adapter.id for adapter in found.adapters}
        objects = {self._config.home / adapter.object_name for adapter in found.adapters}
        for path in _entries(self._config.adapters_path):
            if path.name not in folders:
                self._quarantine.take(path)
        for path in list(self._config.objects_path.glob("*/*.safetensors")):
            if path not in objects:
                self._quarantine.take(path)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _has(path: Path, sha256: str) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
