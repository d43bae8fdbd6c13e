"""A backup is what the home held at one moment, whole, wherever it is restored."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from adapter_files import draft as adapter_draft
from adapter_files import weights
from backup_support import edit, fill, holdings, members, trajectory

from rune_engine.backup import archive, make_backup, restore_backup
from rune_engine.config import RuneConfig, load_config
from rune_engine.database import open_database
from rune_engine.errors import BackupError, HomeNotWritableError
from rune_engine.events import EventLog
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


@pytest.fixture
def other(tmp_path: Path) -> RuneConfig:
    """A home to restore into."""
    return load_config(home=tmp_path / "other")


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.gz", "backup.tgz"])
def test_a_restored_home_holds_what_was_backed_up(
    name: str, config: RuneConfig, other: RuneConfig, tmp_path: Path
) -> None:
    held = fill(config, "a", "b")
    report = make_backup(config, tmp_path / name)
    assert (report.adapters, report.trajectories, report.damaged) == (2, 2, [])
    assert report.size == (tmp_path / name).stat().st_size
    restored = restore_backup(other, tmp_path / name)
    assert (restored.adapters, restored.trajectories) == (2, 2)
    assert (restored.damaged, restored.kept_database, restored.quarantine) == ([], None, None)
    assert holdings(other) == held
    fill(other, "c")


def test_a_backup_is_the_owners_alone_and_leaves_nothing_else(
    config: RuneConfig, tmp_path: Path
) -> None:
    fill(config, "a")
    target = tmp_path / "backups" / "one.tar"
    target.parent.mkdir()
    make_backup(config, target)
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o600


def test_the_same_weights_are_in_it_once_and_the_log_of_trainings_too(
    config: RuneConfig, other: RuneConfig, tmp_path: Path
) -> None:
    with closing(open_database(config)) as database:
        registry = AdapterRegistry(database, config)
        for name in ("a", "b"):
            registry.store(adapter_draft(id=name), weights(1))
    with closing(sqlite3.connect(config.tracking_path)) as tracking, tracking:
        tracking.execute("CREATE TABLE runs AS SELECT 'loss' AS name")
    backup = tmp_path / "backup.tar"
    make_backup(config, backup)
    names = [info.name for info, _ in members(backup)]
    assert sum(name.startswith("objects/") for name in names) == 1
    restore_backup(other, backup)
    assert holdings(other).adapters.keys() == {"a", "b"}
    with closing(sqlite3.connect(other.tracking_path)) as tracking:
        assert tracking.execute("SELECT name FROM runs").fetchall() == [("loss",)]


def test_backups_made_while_others_write_are_each_of_one_moment(
    config: RuneConfig, tmp_path: Path
) -> None:
    fill(config, "first")
    done = threading.Event()

    def write() -> None:
        with closing(open_database(config)) as database:
            registry, store = AdapterRegistry(database, config), TrajectoryStore(database)
            number = 0
            while not done.is_set():
                # The trajectory first: no moment has more adapters than trajectories.
                store.record(trajectory(f"task {number}"))
                registry.store(adapter_draft(id=f"n{number}"), weights(number))
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reports = [make_backup(config, tmp_path / f"{n}.tar") for n in range(4)]
    finally:
        done.set()
        writer.join(60)
    assert all(report.damaged == [] for report in reports)
    for number, report in enumerate(reports):
        other = load_config(home=tmp_path / f"home-{number}")
        restore_backup(other, tmp_path / f"{number}.tar")
        held = holdings(other)
        assert len(held.adapters) == report.adapters <= len(held.trajectories)
    assert reports[-1].adapters > 1


def test_what_was_deleted_from_the_database_is_not_in_the_backup(
    config: RuneConfig, tmp_path: Path
) -> None:
    fill(config, "a")
    secret = "a line that was deleted " * 20
    with closing(sqlite3.connect(config.database_path)) as raw, raw:
        raw.execute("CREATE TABLE scrap (line TEXT)")
        raw.executemany("INSERT INTO scrap VALUES (?)", [(secret,)] * 100)
        raw.execute("DROP TABLE scrap")
    make_backup(config, tmp_path / "backup.tar")
    assert secret.encode() not in (tmp_path / "backup.tar").read_bytes()


def test_a_damaged_adapter_is_named_and_the_rest_is_saved(
    config: RuneConfig, other: RuneConfig, tmp_path: Path
) -> None:
    held = fill(config, "good", "bad")
    weights_file = config.home / held.adapters["bad"].file_path
    os.chmod(weights_file, 0o644)  # noqa: PTH101 - both names of one file
    weights_file.write_bytes(weights_file.read_bytes()[:-1] + b"!")
    report = make_backup(config, tmp_path / "backup.tar")
    assert [adapter.id for adapter in report.damaged] == ["bad"]
    restored = restore_backup(other, tmp_path / "backup.tar")
    assert [adapter.id for adapter in restored.damaged] == ["bad"]
    again = holdings(other)
    assert again.trajectories == held.trajectories
    assert again.adapters["good"] == held.adapters["good"]
    assert again.adapters["bad"].is_archived


def test_a_copy_that_is_still_good_is_used(
    config: RuneConfig, other: RuneConfig, tmp_path: Path
) -> None:
    held = fill(config, "a", "b")
    edit(config.home / held.adapters["a"].file_path, lambda data: data[::-1])
    (config.home / held.adapters["b"].file_path).unlink()
    assert make_backup(config, tmp_path / "backup.tar").damaged == []
    restore_backup(other, tmp_path / "backup.tar")
    assert holdings(other) == held


def test_backups_are_told_in_the_history(
    config: RuneConfig, other: RuneConfig, tmp_path: Path
) -> None:
    fill(config, "a")
    backup = tmp_path / "backup.tar"
    make_backup(config, backup)
    with closing(open_database(config)) as database:
        made = EventLog(database).newest("home", "backup_made")
    assert made is not None and made.payload["path"] == str(backup)
    restore_backup(other, backup)
    with closing(open_database(other)) as database:
        restored = EventLog(database).newest("home", "backup_restored")
    assert restored is not None and restored.payload["path"] == str(backup)


def test_a_backup_that_cannot_be_made_leaves_nothing(config: RuneConfig, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(BackupError, match="nothing to back up"):
        make_backup(config, folder / "backup.tar")
    assert not config.home.exists()
    fill(config, "a")
    with pytest.raises(BackupError, match="no folder"):
        make_backup(config, folder / "below" / "backup.tar")
    (folder / "taken.tar").write_bytes(b"mine")
    with pytest.raises(BackupError, match="exists"):
        make_backup(config, folder / "taken.tar")
    assert (folder / "taken.tar").read_bytes() == b"mine"
    if os.geteuid():
        folder.chmod(0o500)
        with pytest.raises(HomeNotWritableError):
            make_backup(config, folder / "backup.tar")
    assert [path.name for path in folder.iterdir()] == ["taken.tar"]


def test_a_damaged_database_is_not_backed_up(config: RuneConfig, tmp_path: Path) -> None:
    fill(config, "a")
    with closing(sqlite3.connect(config.database_path)) as raw, raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("INSERT INTO attempts VALUES ('nobody', 0, '', '', '', NULL, NULL, NULL)")
    with pytest.raises(BackupError, match="damaged"):
        make_backup(config, tmp_path / "backup.tar")
    assert not (tmp_path / "backup.tar").exists()


def test_reading_a_backup_checks_every_byte_that_counts(config: RuneConfig, tmp_path: Path) -> None:
    fill(config, "a")
    backup, copy = tmp_path / "backup.tar", tmp_path / "copy.tar"
    make_backup(config, backup)
    good = archive.read(backup)
    data = backup.read_bytes()
    for position in range(0, len(data), 977):
        copy.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            # Padding between members and their times are nobody's data.
            assert archive.read(copy) == good
        except BackupError as error:
            assert error.next_step
    for size in range(0, len(data) - 10_240, len(data) // 40):
        copy.write_bytes(data[:size])
        with pytest.raises(BackupError):
            archive.read(copy)
    shutil.copyfile(backup, copy)
    assert archive.read(copy) == good
