"""The doctor finds everything that is wrong, invents nothing, and mends without losing."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from adapter_files import draft, weights

from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.doctor import DataReport, Finding, examine, repair
from rune_engine.errors import (
    AdapterCorruptedError,
    AdapterForgottenError,
    EngineRunningError,
)
from rune_engine.events import EventLog
from rune_engine.home import open_lock, prepare_home, try_lock
from rune_engine.jobs.store import JobStore
from rune_engine.models import AdapterInfo, Attempt, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


@pytest.fixture
def adapter(config: RuneConfig) -> AdapterInfo:
    """In a home with a life behind it: adapters in every state, a trajectory, a finished job."""
    prepare_home(config)
    with closing(open_database(config)) as database:
        registry = AdapterRegistry(database, config)
        for number, name in enumerate(("a", "b", "c", "d")):
            registry.store(draft(id=name), weights(number))
        registry.update_fitness("a", 1 / 3, 0.1 + 0.2, tasks=3)
        registry.archive("b", reason="a better one came")
        registry.forget(["c"])
        attempt = Attempt(generated_code="def f(): ...", tests_passed=True)
        TrajectoryStore(database).record(
            TrajectoryDraft(
                project_id="p", task_description="f", attempts=[attempt], outcome="success"
            )
        )
        return registry.retrieve_by_id("a")


def kinds(report: DataReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.subject) for finding in report.findings]


def sql(config: RuneConfig, *statements: str) -> None:
    """Change the database by other means than Rune: without its triggers."""
    with closing(sqlite3.connect(config.database_path)) as raw, raw:
        for name, definition in raw.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            raw.execute(f"DROP TRIGGER {name}")
            raw.execute("CREATE TABLE IF NOT EXISTS kept (sql TEXT)")
            raw.execute("INSERT INTO kept VALUES (?)", (definition,))
        for statement in statements:
            raw.execute(statement)
        for (definition,) in raw.execute("SELECT sql FROM kept").fetchall():
            raw.execute(definition)
        raw.execute("DROP TABLE kept")


def spoil(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"!")


def mended(config: RuneConfig) -> list[Finding]:
    """What a repair does; a second look finds nothing, and every repair is in the history."""
    report = repair(config)
    assert report.healthy, report.findings
    with closing(open_database(config)) as database:
        history = EventLog(database).history(limit=100)
    told = {event.subject for event in history if event.kind == "data_repaired"}
    assert told == {finding.subject for finding in report.findings}
    assert examine(config).findings == []
    return report.findings


def test_nothing_is_wrong_with_a_home_that_was_used(
    adapter: AdapterInfo, config: RuneConfig
) -> None:
    report = examine(config)
    assert report.findings == [] and report.notes == []
    assert (report.adapters, report.trajectories) == (4, 1)
    assert report.bytes_hashed == 4 * adapter.file_size_bytes
    assert mended(config) == []


def test_a_home_without_a_database_is_left_so(config: RuneConfig) -> None:
    for look in (examine, repair):
        report = look(config)
        assert report.healthy and "no database" in report.notes[0]
    assert not config.home.exists()


def test_examining_changes_nothing(adapter: AdapterInfo, config: RuneConfig) -> None:
    spoil(Path(adapter.file_path))
    (config.objects_path / "tmp" / "stray").write_bytes(b"x")
    sql(config, "UPDATE adapter_records SET fitness_score = 9 WHERE id = 'a'")

    def everything() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in config.home.rglob("*") if path.is_file()}

    before = everything()
    assert len(examine(config).findings) == 3
    assert everything() == before


def test_weights_that_have_a_good_copy_are_put_back(
    adapter: AdapterInfo, config: RuneConfig
) -> None:
    spoil(Path(adapter.file_path))
    assert kinds(examine(config)) == [("adapter_damaged", "a")]
    [finding] = mended(config)
    assert "good" in (finding.repair or "")
    with closing(open_database(config)) as database:
        registry = AdapterRegistry(database, config)
        assert registry.verified_ref("a").sha256 == adapter.file_hash
        assert not registry.retrieve_by_id("a").is_archived


def lose_both(path: Path, object_path: Path) -> None:
    path.unlink()
    object_path.unlink()


def lose_config(path: Path, _: Path) -> None:
    path.with_name("adapter_config.json").unlink()


def lose_folder(path: Path, _: Path) -> None:
    path.parent.rename(path.parents[2] / "elsewhere")


@pytest.mark.parametrize("damage", [lose_both, lose_config, lose_folder])
def test_an_adapter_beyond_repair_is_archived_with_the_reason(
    damage: Callable[[Path, Path], None], adapter: AdapterInfo, config: RuneConfig
) -> None:
    [object_path] = config.objects_path.glob(f"*/{adapter.file_hash}.safetensors")
    damage(Path(adapter.file_path), object_path)
    [finding] = [each for each in mended(config) if each.kind == "adapter_damaged"]
    assert "archived" in (finding.repair or "")
    assert any("a is archived" in note for note in examine(config).notes)
    with closing(open_database(config)) as database:
        registry = AdapterRegistry(database, config)
        assert registry.retrieve_by_id("a").is_archived
        archived = EventLog(database).newest("a", "adapter_archived")
        assert archived is not None and archived.caused_by == "doctor"
        assert "damaged" in archived.payload["reason"]
        with pytest.raises(AdapterCorruptedError):
            registry.verified_ref("a")


def test_a_damaged_object_is_replaced_by_the_adapters_own_copy(
    adapter: AdapterInfo, config: RuneConfig
) -> None:
    [object_path] = config.objects_path.glob(f"*/{adapter.file_hash}.safetensors")
    spoil(object_path)
    assert [each.kind for each in mended(config)] == ["object_damaged"]
    with closing(open_database(config)) as database:
        AdapterRegistry(database, config).store(draft(id="same"), weights(0))
    assert examine(config).findings == []


def test_what_no_row_refers_to_is_moved_aside(adapter: AdapterInfo, config: RuneConfig) -> None:
    folder = config.adapters_path / "nobody"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"mine")
    lonely = config.objects_path / "ab" / f"{'ab' * 32}.safetensors"
    lonely.parent.mkdir(exist_ok=True)
    lonely.write_bytes(b"alone")
    stray, left = config.objects_path / "tmp" / "half", config.home / "restore-1234"
    stray.write_bytes(b"x")
    left.mkdir()
    assert sorted(kinds(examine(config))) == [
        ("orphan", "adapters/nobody"),
        ("orphan", str(lonely.relative_to(config.home))),
        ("stray", "objects/tmp/half"),
        ("stray", "restore-1234"),
    ]
    report = repair(config)
    assert report.quarantine is not None
    moved = Path(report.quarantine)
    assert (moved / "adapters/nobody/adapter_model.safetensors").read_bytes() == b"mine"
    assert (moved / lonely.relative_to(config.home)).read_bytes() == b"alone"
    assert not stray.exists() and not left.exists()
    assert examine(config).findings == []


@pytest.mark.parametrize(
    ("statement", "archived", "forgotten", "fitness"),
    [
        ("UPDATE adapter_records SET is_archived = 1 WHERE id = 'a'", True, False, 0.1 + 0.2),
        ("UPDATE adapter_records SET fitness_score = 9 WHERE id = 'a'", False, False, 0.1 + 0.2),
        ("UPDATE adapter_records SET fitness_score = NULL WHERE id = 'a'", False, False, 0.1 + 0.2),
        ("UPDATE adapter_records SET pass_rate = 0.4 WHERE id = 'd'", False, False, None),
        ("UPDATE adapter_records SET is_archived = 0 WHERE id = 'b'", True, False, None),
        (
            "UPDATE adapter_records SET is_archived = 0, forgotten_at = NULL WHERE id = 'c'",
            True,
            True,
            None,
        ),
        (
            "UPDATE adapter_records SET is_archived = 1, forgotten_at = 'now' WHERE id = 'd'",
            True,
            True,
            None,
        ),
        ("DELETE FROM lifecycle_events WHERE subject = 'd'", False, False, None),
        (
            "UPDATE lifecycle_events SET payload = '{\"file_hash\": \"x\"}' WHERE subject = 'd'",
            True,
            False,
            None,
        ),
    ],
)
def test_columns_and_events_are_brought_together(
    statement: str,
    archived: bool,
    forgotten: bool,
    fitness: float | None,
    adapter: AdapterInfo,
    config: RuneConfig,
) -> None:
    sql(config, statement)
    [subject] = {finding.subject for finding in examine(config).findings}
    report = repair(config)
    assert {finding.kind for finding in report.findings} == {"projection_differs"}
    with closing(open_database(config)) as database:
        info = AdapterRegistry(database, config).retrieve_by_id(subject)
    found = (info.is_archived, info.forgotten_at is not None, info.fitness_score)
    assert found == (archived, forgotten, fitness)
    if "file_hash" not in statement:
        assert examine(config).findings == []


def test_a_row_that_is_gone_is_missed(adapter: AdapterInfo, config: RuneConfig) -> None:
    sql(config, "DELETE FROM adapter_records WHERE id = 'd'")
    found = kinds(examine(config))
    assert ("adapter_lost", "d") in found
    assert ("orphan", "adapters/d") in found
    report = repair(config)
    assert [each.kind for each in report.findings if not each.repaired] == ["adapter_lost"]


def test_a_broken_reference_is_found(adapter: AdapterInfo, config: RuneConfig) -> None:
    sql(config, "INSERT INTO attempts VALUES ('nobody', 0, '', '', '', NULL, NULL, NULL)")
    [finding] = examine(config).findings
    assert finding.kind == "reference_broken" and finding.repair is None


@pytest.mark.parametrize("where", ["page", "start"])
def test_a_damaged_database_is_found_and_not_touched(
    where: str, adapter: AdapterInfo, config: RuneConfig
) -> None:
    data = bytearray(config.database_path.read_bytes())
    start = 0 if where == "start" else 8 * 4096
    data[start : start + 3000] = b"\xa5" * 3000
    config.database_path.write_bytes(data)
    for look in (examine, repair):
        report = look(config)
        assert not report.healthy
        assert "database_damaged" in {finding.kind for finding in report.findings}
        assert all(not finding.repaired for finding in report.findings)
    assert config.database_path.read_bytes() == data


def test_a_newer_runes_database_is_left_alone(adapter: AdapterInfo, config: RuneConfig) -> None:
    sql(config, "UPDATE alembic_version SET version_num = '9999'")
    before = config.database_path.read_bytes()
    for look in (examine, repair):
        assert [finding.kind for finding in look(config).findings] == ["database_too_new"]
    assert config.database_path.read_bytes() == before


def test_a_job_whose_process_died_is_taken_up(adapter: AdapterInfo, config: RuneConfig) -> None:
    with closing(open_database(config)) as database:
        jobs = JobStore(database)
        job = jobs.enqueue("run_task", {"task_description": "f"})
        jobs.claim("another-boot/1/1/1")
    assert kinds(examine(config)) == [("job_stranded", job.id)]
    mended(config)
    with closing(open_database(config)) as database:
        assert JobStore(database).get(job.id).status == "queued"


def test_open_doors_are_closed(adapter: AdapterInfo, config: RuneConfig) -> None:
    config.home.chmod(0o755)
    config.database_path.chmod(0o644)
    assert sorted(kinds(examine(config))) == [
        ("permissions_open", "."),
        ("permissions_open", "rune.db"),
    ]
    mended(config)
    assert config.home.stat().st_mode & 0o777 == 0o700
    assert config.database_path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_a_killed_process_left_is_found_and_folded_in(
    adapter: AdapterInfo, config: RuneConfig
) -> None:
    script = "import sqlite3, os, sys; c = sqlite3.connect(sys.argv[1]);"
    script += "c.execute(\"INSERT INTO sessions VALUES ('s', 'p', NULL, 'now')\"); c.commit();"
    script += "os._exit(1)"
    subprocess.run([sys.executable, "-c", script, str(config.database_path)], check=False)
    assert [finding.kind for finding in mended(config)] == ["log_left"]
    assert not config.database_path.with_name("rune.db-wal").exists()
    with closing(open_database(config)) as database:
        assert database.query("SELECT count(*) FROM sessions WHERE id = 's'") == [(1,)]


def test_nothing_is_mended_under_a_running_engine(adapter: AdapterInfo, config: RuneConfig) -> None:
    lock = open_lock(config.lock_path)
    assert try_lock(lock)
    assert examine(config).healthy
    with pytest.raises(EngineRunningError) as caught:
        repair(config)
    assert "rune engine stop" in caught.value.next_step
    os.close(lock)
    assert repair(config).healthy


def test_a_home_that_is_being_written_to_is_not_taken_for_damaged(
    adapter: AdapterInfo, config: RuneConfig
) -> None:
    done = threading.Event()

    def write() -> None:
        with closing(open_database(config)) as database:
            registry = AdapterRegistry(database, config)
            number = 0
            while not done.is_set():
                registry.store(draft(id=f"n{number}"), weights(number))
                registry.update_fitness(f"n{number}", 0.5, 0.5)
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reports = [examine(config) for _ in range(8)]
        deadline = time.monotonic() + 60
        while reports[-1].adapters == reports[0].adapters and time.monotonic() < deadline:
            reports.append(examine(config))
    finally:
        done.set()
        writer.join(60)
    assert [report.findings for report in reports] == [[]] * len(reports)
    assert reports[-1].adapters > reports[0].adapters >= 4


def test_an_adapter_that_was_put_in_use_again_is_explained(
    adapter: AdapterInfo, config: RuneConfig
) -> None:
    with closing(open_database(config)) as database:
        registry = AdapterRegistry(database, config)
        assert not registry.restore("b", reason="it was good after all").is_archived
        with pytest.raises(AdapterForgottenError):
            registry.restore("c")
    assert examine(config).findings == []
    sql(config, "DELETE FROM lifecycle_events WHERE kind = 'adapter_restored'")
    [finding] = mended(config)
    assert "archived" in finding.what
    with closing(open_database(config)) as database:
        # The side that serves less is kept.
        assert AdapterRegistry(database, config).retrieve_by_id("b").is_archived


def test_a_damaged_adapter_is_not_put_in_use_again(
    adapter: AdapterInfo, config: RuneConfig
) -> None:
    with closing(open_database(config)) as database:
        registry = AdapterRegistry(database, config)
        registry.archive("a")
        spoil(Path(adapter.file_path))
        with pytest.raises(AdapterCorruptedError):
            registry.restore("a")
        assert registry.retrieve_by_id("a").is_archived


@pytest.mark.parametrize(
    ("parents", "broken"),
    [
        ({"a": ["d"], "d": ["a"]}, ["a", "d"]),
        ({"a": ["a"], "b": ["a"]}, ["a"]),
        ({"a": ["nobody"]}, ["a"]),
        ({"a": ["b"], "b": ["c"], "d": ["a", "c"]}, []),
    ],
)
def test_a_circle_of_descent_and_a_lost_parent_are_found(
    parents: dict[str, list[str]], broken: list[str], adapter: AdapterInfo, config: RuneConfig
) -> None:
    for child, named in parents.items():
        text = json.dumps(named)
        sql(config, f"UPDATE adapter_records SET parent_ids = '{text}' WHERE id = '{child}'")
    found = [each for each in examine(config).findings if each.kind == "lineage_broken"]
    assert [each.subject for each in found] == broken
    assert all(each.repair is None for each in found)
