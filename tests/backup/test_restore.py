"""A restore changes everything or nothing, and trusts nothing that a backup says."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from adapter_files import draft as adapter_draft
from adapter_files import weights
from backup_support import Members, edit, fill, holdings, members, pack, trajectory
from sqlalchemy import text

from rune_engine.backup import make_backup, restore_backup
from rune_engine.config import RuneConfig, load_config
from rune_engine.database import open_database
from rune_engine.errors import (
    AdapterForgottenError,
    BackupError,
    DiskFullError,
    EngineRunningError,
    TrajectoryForgottenError,
)
from rune_engine.forgetting import Forgetting
from rune_engine.home import open_lock, try_lock
from rune_engine.models import ForgetParams
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


@pytest.fixture
def backup(config: RuneConfig, tmp_path: Path) -> Path:
    """Of a home with the adapters a and b."""
    fill(config, "a", "b")
    path = tmp_path / "backup.tar"
    make_backup(config, path)
    return path


@pytest.fixture
def other(tmp_path: Path) -> RuneConfig:
    return load_config(home=tmp_path / "other")


def files(config: RuneConfig) -> dict[str, bytes]:
    return {
        str(path.relative_to(config.home)): path.read_bytes()
        for path in sorted(config.home.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_a_home_in_use_is_replaced_only_when_told(backup: Path, other: RuneConfig) -> None:
    mine = fill(other, "mine")
    with pytest.raises(BackupError, match="in use") as caught:
        restore_backup(other, backup)
    assert "--replace" in caught.value.next_step
    assert holdings(other) == mine


def test_replacing_keeps_the_former_database_and_files(
    backup: Path, config: RuneConfig, other: RuneConfig
) -> None:
    held = holdings(config)
    mine = fill(other, "mine")
    report = restore_backup(other, backup, replace=True)
    assert holdings(other) == held
    assert report.kept_database is not None and report.quarantine is not None
    with closing(sqlite3.connect(report.kept_database)) as kept:
        assert kept.execute("SELECT id FROM adapter_records").fetchall() == [("mine",)]
    moved = Path(report.quarantine) / mine.adapters["mine"].file_path
    assert moved.stat().st_size == mine.adapters["mine"].file_size_bytes
    assert not list(other.home.glob("restore-*"))


def test_what_is_good_stays_and_what_is_damaged_is_replaced(
    backup: Path, config: RuneConfig
) -> None:
    held = holdings(config)
    good, bad = (config.home / held.adapters[name].file_path for name in ("a", "b"))
    inode = good.stat().st_ino
    for path in (bad, config.objects_path / bad.name):
        if path.exists():
            edit(path, lambda data: data[::-1])
    for path in config.objects_path.glob(f"*/{held.adapters['b'].file_hash}.safetensors"):
        edit(path, lambda data: data[::-1])
    report = restore_backup(config, backup, replace=True)
    assert holdings(config) == held
    assert good.stat().st_ino == inode
    assert report.quarantine is not None
    assert len([path for path in Path(report.quarantine).rglob("*") if path.is_file()]) == 3


def test_a_running_engine_is_not_pulled_from_under(backup: Path, other: RuneConfig) -> None:
    mine = fill(other, "mine")
    lock = open_lock(other.lock_path)
    assert try_lock(lock)
    with pytest.raises(EngineRunningError) as caught:
        restore_backup(other, backup, replace=True)
    assert "rune engine stop" in caught.value.next_step
    assert holdings(other) == mine


def test_another_program_that_has_the_database_open_is_noticed(
    backup: Path, other: RuneConfig
) -> None:
    mine = fill(other, "mine")
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
    script += "c.execute('SELECT count(*) FROM jobs').fetchall(); print(flush=True); input()"
    command = [sys.executable, "-c", script, str(other.database_path)]
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    reader.stdout.readline()
    with pytest.raises(BackupError, match="open"):
        restore_backup(other, backup, replace=True)
    reader.communicate(b"\n", timeout=60)
    assert holdings(other) == mine
    restore_backup(other, backup, replace=True)


def changed(content: Members, name: str, data: bytes) -> Members:
    return [(info, data if info.name == name else old) for info, old in content]


def with_manifest(content: Members, **changes: Any) -> Members:
    manifest = json.loads(content[-1][1]) | changes
    return changed(content, "manifest.json", json.dumps(manifest).encode())


def member(name: str, kind: bytes = tarfile.REGTYPE, **values: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for attribute, value in values.items():
        setattr(info, attribute, value)
    return info


EVIL = [
    member("../outside"),
    member("/tmp/outside"),
    member("adapters/../../outside/adapter_config.json"),
    member("adapters/x/adapter_model.pkl"),
    member("config.toml"),
    member("objects/aa/" + "b" * 64 + ".safetensors"),
    member("rune.db"),
    member("mlflow.db", tarfile.SYMTYPE, linkname="/etc/passwd"),
    member("mlflow.db", tarfile.LNKTYPE, linkname="rune.db"),
    member("mlflow.db", tarfile.CHRTYPE, devmajor=1, devminor=3),
    member("mlflow.db", tarfile.FIFOTYPE),
    member("adapters/x", tarfile.DIRTYPE),
]


@pytest.mark.parametrize("evil", EVIL, ids=lambda info: f"{info.name[:30]}-{info.type.decode()}")
def test_nothing_but_a_backups_own_files_is_unpacked(
    evil: tarfile.TarInfo, backup: Path, other: RuneConfig, tmp_path: Path
) -> None:
    mine = fill(other, "mine")
    before = files(other)
    content = members(backup)
    for place in (0, len(content) - 1, len(content)):
        with_evil = [*content[:place], (evil, b"evil"), *content[place:]]
        with pytest.raises(BackupError) as caught:
            restore_backup(other, pack(tmp_path / "evil.tar", with_evil), replace=True)
        assert caught.value.next_step
        assert files(other) == before
    assert holdings(other) == mine
    assert not list(tmp_path.rglob("outside"))


def test_a_member_that_is_not_in_the_manifest_is_refused(
    backup: Path, other: RuneConfig, tmp_path: Path
) -> None:
    content = members(backup)
    content.insert(0, (member("adapters/x/adapter_config.json"), b"{}"))
    with pytest.raises(BackupError, match="not what its manifest says"):
        restore_backup(other, pack(tmp_path / "more.tar", content))


def test_backups_of_a_newer_rune_are_refused_as_such(
    backup: Path, other: RuneConfig, tmp_path: Path
) -> None:
    newer = pack(tmp_path / "format.tar", with_manifest(members(backup), format=2, new="field"))
    with pytest.raises(BackupError, match="newer Rune"):
        restore_backup(other, newer)
    database = tmp_path / "newer.db"
    database.write_bytes({info.name: data for info, data in members(backup)}["rune.db"])
    with closing(sqlite3.connect(database)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    data = database.read_bytes()
    with pytest.raises(BackupError, match="newer Rune"):
        restore_backup(other, pack(tmp_path / "newer.tar", with_database(backup, data)))
    assert not other.database_path.exists()


def with_database(backup: Path, data: bytes) -> Members:
    """The backup with another database, and a manifest that vouches for it."""
    content = changed(members(backup), "rune.db", data)
    listed = json.loads(content[-1][1])["members"]
    entry = {"name": "rune.db", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    listed = [entry if each["name"] == "rune.db" else each for each in listed]
    return with_manifest(content, members=listed)


@pytest.mark.parametrize("data", [b"", b"no database " * 999], ids=["empty", "text"])
def test_a_database_that_is_none_is_refused_although_its_hash_is_right(
    data: bytes, backup: Path, other: RuneConfig, tmp_path: Path
) -> None:
    with pytest.raises(BackupError):
        restore_backup(other, pack(tmp_path / "odd.tar", with_database(backup, data)))
    assert not other.database_path.exists()


def test_an_adapter_without_its_files_is_refused(
    backup: Path, other: RuneConfig, tmp_path: Path
) -> None:
    content = [each for each in members(backup) if each[0].name != "adapters/a/adapter_config.json"]
    listed = json.loads(content[-1][1])["members"]
    listed = [each for each in listed if each["name"] != "adapters/a/adapter_config.json"]
    with pytest.raises(BackupError, match="lacks the files of adapter a"):
        restore_backup(other, pack(tmp_path / "b.tar", with_manifest(content, members=listed)))
    assert not other.database_path.exists()


def test_an_id_that_means_two_adapters_is_refused(
    backup: Path, other: RuneConfig, tmp_path: Path
) -> None:
    with closing(open_database(other)) as database:
        AdapterRegistry(database, other).store(adapter_draft(id="a"), weights(12345))
    mine = holdings(other)
    with pytest.raises(BackupError, match="another one"):
        restore_backup(other, backup, replace=True)
    assert holdings(other) == mine


def test_a_damaged_home_can_be_replaced(backup: Path, config: RuneConfig) -> None:
    held = holdings(config)
    config.database_path.write_bytes(b"rotten " * 10_000)
    report = restore_backup(config, backup, replace=True)
    assert holdings(config) == held
    assert report.kept_database is not None
    assert Path(report.kept_database).read_bytes().startswith(b"rotten")


def test_what_was_forgotten_after_the_backup_stays_forgotten(
    backup: Path, config: RuneConfig
) -> None:
    with closing(open_database(config)) as database:
        [session] = {
            each.session_id
            for each in TrajectoryStore(database).page().trajectories
            if each.task_description == "task a"
        }
        with database.writing() as transaction:
            transaction.connection().execute(
                text(
                    "INSERT INTO adapter_trajectories SELECT 'a', id, 'trained' FROM trajectories"
                    " WHERE session_id = :session UNION ALL SELECT 'b', id, 'trained'"
                    " FROM trajectories WHERE session_id <> :session"
                ),
                {"session": session},
            )
    backup.unlink()
    make_backup(config, backup)
    with closing(open_database(config)) as database:
        Forgetting(database, config).forget(ForgetParams(session_id=session))
    report = restore_backup(config, backup, replace=True)
    assert (report.forgotten_again, report.trajectories) == (1, 1)
    held = holdings(config)
    assert [each.task_description for each in held.trajectories.values()] == ["task b"]
    assert held.adapters["a"].forgotten_at is not None
    assert held.adapters["b"].forgotten_at is None
    with closing(open_database(config)) as database:
        with pytest.raises(AdapterForgottenError):
            AdapterRegistry(database, config).verified_ref("a")
        with pytest.raises(TrajectoryForgottenError):
            TrajectoryStore(database).record(trajectory("task a"))
    assert b"task a" not in config.database_path.read_bytes()


def test_a_full_disk_leaves_what_was_there(backup: Path, tmp_path: Path) -> None:
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("private mount namespaces are not permitted here")
    here = Path(__file__).resolve().parent
    run = here / "restore_when_full.py"
    script = 'mount -t tmpfs -o size=2m none "$1"; "$2" "$3" "$1/home" "$4"'
    done = subprocess.run(
        [*inside, "sh", "-ec", script, "sh", str(disk), sys.executable, str(run), str(backup)],
        env={"PYTHONPATH": f"{here.parents[1]}:{here.parent}:{here}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert DiskFullError.code in done.stdout
