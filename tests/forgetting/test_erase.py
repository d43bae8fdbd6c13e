"""Forgetting in the stores: what is erased, what is retired, what stays, and what is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_files import draft as adapter_draft
from adapter_files import weights
from sqlalchemy import text

from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.errors import (
    AdapterForgottenError,
    NotFoundError,
    StorageError,
    TrajectoryForgottenError,
)
from rune_engine.events import EventLog
from rune_engine.forgetting import Forgetting
from rune_engine.gguf.cache import GgufCache
from rune_engine.jobs.store import JobStore
from rune_engine.models import Attempt, ForgetParams, ForgetReport, Trajectory, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

PROJECT = ForgetParams(project_id="secret")
SESSION = ForgetParams(session_id="secret-1")


class Home:
    """A home's stores, and how its tests fill them."""

    def __init__(self, config: RuneConfig, database: Database) -> None:
        self.path = config.home
        self.database = database
        self.registry = AdapterRegistry(database, config)
        self.trajectories = TrajectoryStore(database)
        self.jobs = JobStore(database)
        self.forgetting = Forgetting(database, config)

    def record(self, project: str = "secret", number: int = 1, **changes: Any) -> Trajectory:
        given = {
            "project_id": project,
            "session_id": f"{project}-{number}",
            "task_description": f"The {project} task number {number}, which nobody else has.",
            "test_suite": f"assert {project}_tests({number}) == 'expected here'",
            "attempts": [
                Attempt(
                    generated_code=f"def {project}_f{number}():\n    return '{project} {number}'\n",
                    stdout=f"{project} printed this at number {number}",
                    stderr=f'{project} "quoted" ✗ at number {number}',
                    tests_passed=True,
                )
            ],
            "outcome": "success",
        }
        draft = TrajectoryDraft.model_validate({**given, **changes})
        return self.trajectories.record(draft)[0]

    def adapter(self, *trained: Trajectory, role: str = "trained", **changes: Any) -> str:
        changes = {"project_id": "secret", **changes}
        stored = self.registry.store(adapter_draft(**changes), weights(len(changes)))
        with self.database.writing() as session:
            for trajectory in trained:
                session.connection().execute(
                    text("INSERT INTO adapter_trajectories VALUES (:a, :t, :r)"),
                    {"a": stored.id, "t": trajectory.id, "r": role},
                )
        return stored.id

    def traces(self, trajectory: Trajectory) -> list[str]:
        """Files with a line of the trajectory, read raw."""
        attempt = trajectory.attempts[0]
        whole = "\n".join(
            (trajectory.task_description, trajectory.test_suite, attempt.generated_code)
        )
        lines = [*whole.splitlines(), attempt.stdout, attempt.stderr]
        return [
            str(path)
            for path in self.path.rglob("*")
            if path.is_file() and any(line.strip().encode() in path.read_bytes() for line in lines)
        ]


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


@pytest.fixture
def home(config: RuneConfig, database: Database) -> Home:
    return Home(config, database)


def retired(report: ForgetReport) -> dict[str, str]:
    return {adapter.adapter_id: adapter.because for adapter in report.adapters}


def test_a_forgotten_project_leaves_no_byte_and_others_stay(home: Home) -> None:
    erased = [home.record(number=n) for n in range(30)]
    kept = [home.record("public", n) for n in range(3)]
    assert home.traces(erased[7]) and home.traces(kept[1])
    report = home.forgetting.forget(PROJECT)
    assert sorted(report.trajectory_ids) == sorted(t.id for t in erased)
    assert (report.sessions, report.done) == (30, True)
    assert [home.traces(trajectory) for trajectory in erased] == [[]] * 30
    assert report.proof is not None and report.proof.found_in == []
    assert report.proof.lines_searched > 30 and report.proof.bytes_searched > 4096
    assert [home.trajectories.get(t.id) for t in kept] == kept
    assert [count.project_id for count in home.trajectories.counts()] == ["public"]


def test_a_forgotten_session_takes_only_its_own(home: Home) -> None:
    first, second = home.record(number=1), home.record(number=2)
    report = home.forgetting.forget(SESSION)
    assert report.trajectory_ids == [first.id]
    assert home.traces(first) == [] and home.trajectories.get(second.id) == second


def test_what_learnt_from_it_is_retired_with_its_descendants(home: Home) -> None:
    first, second = home.record(number=1), home.record(number=2)
    direct = home.adapter(first, second)
    measured = home.adapter(first, role="kept_back")
    other = home.adapter(second)
    child = home.adapter(second, parent_ids=[direct], source="evolution")
    grandchild = home.adapter(second, parent_ids=[child, other], source="evolution")
    unknown = home.adapter()
    report = home.forgetting.forget(SESSION)
    assert retired(report) == {
        direct: "it was trained on it",
        measured: "it was measured on it",
        child: "a parent",
        grandchild: "a parent",
        unknown: "not known",
    }
    (of_grandchild,) = (a for a in report.adapters if a.adapter_id == grandchild)
    assert of_grandchild.parents == [child]
    for adapter_id in retired(report):
        with pytest.raises(AdapterForgottenError, match=adapter_id):
            home.registry.verified_ref(adapter_id)
    assert home.registry.verified_ref(other).id == other
    best = home.registry.query_best_for_task("feature-impl", project_id="secret")
    assert best is not None and best.id == other


def test_looking_changes_nothing(home: Home) -> None:
    trajectory = home.record()
    adapter = home.adapter(trajectory)
    report = home.forgetting.look(PROJECT)
    assert (report.done, report.trajectory_ids) == (False, [trajectory.id])
    assert retired(report) == {adapter: "it was trained on it"}
    assert home.trajectories.get(trajectory.id) == trajectory
    assert home.registry.verified_ref(adapter).id == adapter


def test_forgetting_what_is_not_there_is_refused(home: Home) -> None:
    home.record()
    for params in (ForgetParams(project_id="public"), ForgetParams(session_id="secret-9")):
        with pytest.raises(NotFoundError, match="Nothing is stored"):
            home.forgetting.forget(params)


def test_the_forgotten_does_not_come_back(home: Home) -> None:
    home.record()
    home.forgetting.forget(PROJECT)
    with pytest.raises(TrajectoryForgottenError, match="not stored again"):
        home.record()
    assert home.record(number=2).session_id == "secret-2"


def test_jobs_that_hold_its_text_go_and_others_stay(home: Home) -> None:
    trajectory = home.record()
    words = "assert these_words_are_only_in_a_job()"
    params = {"project_id": "secret", "test_suite": words, "session_id": "secret-1"}
    mine, theirs = (
        home.jobs.enqueue("run_task", params),
        home.jobs.enqueue("run_task", {**params, "session_id": "secret-2", "test_suite": "pass"}),
    )
    claimed = home.jobs.claim("somebody")
    assert claimed is not None and claimed.id == mine.id
    report = home.forgetting.forget(SESSION)
    assert report.jobs == 1 and home.traces(trajectory) == []
    assert [job.id for job in home.jobs.newest()] == [theirs.id]
    assert not any(words.encode() in p.read_bytes() for p in home.path.rglob("*.db*"))


def test_lines_that_others_have_too_are_not_called_left(home: Home) -> None:
    shared = "x = 'a long line that both of the projects have in their code'\n"
    home.record(attempts=[Attempt(generated_code=shared, tests_passed=True)])
    home.record("public", attempts=[Attempt(generated_code=shared, tests_passed=True)])
    proof = home.forgetting.forget(PROJECT).proof
    assert proof is not None and proof.found_in == []


def test_a_log_that_repeats_it_is_emptied_and_a_stray_copy_is_told(home: Home) -> None:
    trajectory = home.record()
    logs, stray = home.path / "logs", home.path / "copy.txt"
    logs.mkdir()
    (logs / "engine.log").write_text(f"failed over {json.dumps(trajectory.attempts[0].stderr)}\n")
    (logs / "other.log").write_text("nothing of it\n")
    stray.write_text(trajectory.task_description)
    proof = home.forgetting.forget(PROJECT).proof
    assert proof is not None
    assert (proof.found_in, proof.removed) == (["copy.txt"], ["logs/engine.log"])
    assert (logs / "other.log").read_text() == "nothing of it\n"


def test_databases_put_aside_go_and_backups_are_named(home: Home, tmp_path: Path) -> None:
    trajectory = home.record()
    aside = home.path / "rune.db.before-restore-20260101T000000"
    aside.write_text(trajectory.task_description)
    backup = tmp_path / "rune.tar"
    backup.write_bytes(b"tar")
    EventLog(home.database).append("backup_made", "backup", path=str(backup))
    EventLog(home.database).append("backup_made", "backup", path=str(tmp_path / "gone.tar"))
    proof = home.forgetting.forget(PROJECT).proof
    assert proof is not None and proof.backups == [str(backup)]
    assert proof.removed == [aside.name] and not aside.exists()


def test_the_event_says_what_depended_on_what_and_no_text(home: Home) -> None:
    adapter = home.adapter(home.record())
    home.forgetting.forget(PROJECT)
    events = EventLog(home.database).history(project_id="secret")
    (erased,) = (event for event in events if event.kind == "trajectories_erased")
    assert erased.payload["adapters"] == [adapter] and erased.payload["trajectories"] == 1
    assert {"adapter_forgotten"} < {event.kind for event in events}


@pytest.mark.parametrize("table", ["attempts", "trajectories", "sessions", "erasures"])
def test_without_an_erasure_the_database_refuses_to_delete(home: Home, table: str) -> None:
    home.record("public")
    home.record()
    home.forgetting.forget(PROJECT)
    with pytest.raises(StorageError, match="write-once"), home.database.writing() as session:
        session.connection().execute(text(f"DELETE FROM {table}"))
    assert len(home.trajectories.page().trajectories) == 1


def test_a_forgetting_that_fails_erases_nothing(home: Home) -> None:
    trajectory = home.record()
    adapter = home.adapter(trajectory)
    with home.database.writing() as session:
        session.connection().execute(
            text("CREATE TRIGGER no BEFORE DELETE ON sessions BEGIN SELECT RAISE(ABORT, 'no'); END")
        )
    with pytest.raises(StorageError):
        home.forgetting.forget(PROJECT)
    assert home.trajectories.get(trajectory.id) == trajectory
    assert home.registry.verified_ref(adapter).id == adapter


def test_files_made_of_a_forgotten_adapter_go_and_those_of_others_stay(
    home: Home, config: RuneConfig
) -> None:
    mine, other = home.record(), home.record("other")
    forgotten = home.adapter(mine)
    kept = home.adapter(other, id="kept", project_id="other", task_type="t")
    cache = GgufCache(config.gguf_path)
    files = {}
    for adapter_id in (forgotten, kept):
        ref = home.registry.verified_ref(adapter_id)
        files[adapter_id] = cache.adapter(ref.sha256, b"{}")
        files[adapter_id].touch()
    report = home.forgetting.forget(PROJECT)
    assert not files[forgotten].exists()
    assert files[kept].exists()
    assert report.proof is not None
    assert files[forgotten].name in report.proof.removed
