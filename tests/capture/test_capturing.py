"""What is captured says where it came from, obeys the user, and stays forgotten."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from capture_support import CaptureHome
from session_files import AGENTS, PROMPT, claude_code, inbox

from rune_engine.backup import make_backup, restore_backup
from rune_engine.capture.capturing import Look, session_id_of
from rune_engine.capture.importers import IMPORTERS
from rune_engine.capture.steps import Session
from rune_engine.errors import InvalidInputError, SourceForbiddenError
from rune_engine.models import ForgetParams
from rune_engine.projects import identify

FOLLOWED = Look("follower", final=True)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[CaptureHome]:
    home = CaptureHome(tmp_path)
    yield home
    home.database.close()


def say_more(path: Path, *records: dict[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agents_session_is_stored_once_with_where_it_came_from(
    agent: str, home: CaptureHome, tmp_path: Path
) -> None:
    unit = AGENTS[agent](tmp_path)
    (task,) = home.capture(unit)
    assert (task.status, task.outcome, task.attempts) == ("stored", "success", 2)
    assert [again.status for again in home.capture(unit, agent=agent)] == ["known"]
    assert home.store.page().total == 1 == home.store.count_distillable(task.project_id)
    found = home.capturing.provenance.of(str(task.trajectory_id))
    assert found is not None
    assert (found.source, found.path, found.captured_by) == (agent, str(unit), "import")
    stored = home.store.get(str(task.trajectory_id))
    assert stored.agent_id == ("my-agent" if agent == "inbox" else agent)
    assert stored.session_id == found.session_id == task.session_id
    assert stored.session_id.startswith(f"{agent}-")


def test_a_worktree_and_a_subfolder_are_the_project_of_their_repository(
    home: CaptureHome, tmp_path: Path
) -> None:
    main, beside = tmp_path / "main", tmp_path / "beside"
    author = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for arguments in (
        ["init", "--quiet", str(main)],
        ["-C", str(main), *author, "commit", "--quiet", "--allow-empty", "-m", "first"],
        ["-C", str(main), "worktree", "add", "--quiet", "--detach", str(beside)],
    ):
        subprocess.run(["git", *arguments], check=True, timeout=60)
    below = beside / "src"
    below.mkdir()
    path = claude_code(tmp_path)
    path.write_text(path.read_text().replace("/work/calc", str(below)))
    (task,) = home.capture(path)
    assert task.project_id == identify(main).id
    (chosen,) = home.capture(inbox(tmp_path), project_id="github.com/acme/shop")
    assert chosen.project_id == "github.com/acme/shop"


def test_a_dry_run_tells_everything_and_stores_nothing(home: CaptureHome, tmp_path: Path) -> None:
    path = claude_code(tmp_path)
    (task,) = home.capture(path, dry_run=True)
    assert (task.status, task.description, task.trajectory_id) == ("new", PROMPT, None)
    assert home.store.page().total == 0 and not home.capturing.is_read(path)
    assert [task.status for task in home.capture(path)] == ["stored"]


def test_secrets_are_replaced_in_what_is_stored_and_in_what_is_shown(
    home: CaptureHome, tmp_path: Path
) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    path = claude_code(tmp_path)
    path.write_text(path.read_text().replace(PROMPT, f"Use the token {token}."))
    (task,) = home.capture(path)
    assert token not in task.description and "[secret:" in task.description
    assert token not in home.store.get(str(task.trajectory_id)).task_description


def test_a_forbidden_source_is_not_read_and_an_undecided_one_only_when_named(
    home: CaptureHome, tmp_path: Path
) -> None:
    path = claude_code(tmp_path)
    assert home.sources.state("claude-code") == "undecided" and home.sources.allowed() == []
    assert [task.status for task in home.capture(path)] == ["stored"]
    home.sources.set("claude-code", allowed=False)
    with pytest.raises(SourceForbiddenError, match="claude-code"):
        home.capture(path)
    home.sources.set("claude-code", allowed=True)
    assert home.sources.allowed() == ["claude-code"]
    assert [task.status for task in home.capture(path)] == ["known"]
    with pytest.raises(InvalidInputError, match="no importer"):
        home.sources.state("nobody")


def test_a_project_that_is_not_recorded_is_not_captured_either(
    home: CaptureHome, tmp_path: Path
) -> None:
    path = claude_code(tmp_path)
    (found,) = home.capture(path, dry_run=True)
    home.consent.set(found.project_id, recorded=False)
    (task,) = home.capture(path)
    assert task.status == "refused" and "turned off" in task.reason
    assert home.store.page().total == 0


def test_a_forgotten_session_is_not_captured_again_however_it_grows(
    home: CaptureHome, tmp_path: Path
) -> None:
    path = claude_code(tmp_path)
    (task,) = home.capture(path)
    (kept,) = home.capture(AGENTS["aider"](tmp_path))
    home.forgetting.forget(ForgetParams(session_id=task.session_id))
    assert home.capturing.provenance.of(str(task.trajectory_id)) is None
    assert [again.status for again in home.capture(path)] == ["forgotten"]
    records = [json.loads(line) for line in path.read_text().splitlines()]
    changed = json.loads(json.dumps(records[-2:]).replace("t3", "t9").replace('"a3"', '"a9"'))
    changed[1]["uuid"] = "r9"
    say_more(path, *changed)
    assert [again.status for again in home.capture(path)] == ["forgotten"]
    assert home.store.page().total == 1
    rows = home.database.query("SELECT session_id FROM captured_sessions")
    assert rows == [(kept.session_id,)]


def test_what_was_forgotten_stays_so_when_an_older_backup_is_restored(
    home: CaptureHome, tmp_path: Path
) -> None:
    path = claude_code(tmp_path)
    (task,) = home.capture(path)
    make_backup(home.config, tmp_path / "memory.tar")
    home.forgetting.forget(ForgetParams(session_id=task.session_id))
    home.database.close()
    restore_backup(home.config, tmp_path / "memory.tar", replace=True)
    again = CaptureHome(tmp_path)
    assert [each.status for each in again.capture(path)] == ["forgotten"]
    assert again.database.query("SELECT count(*) FROM captured_tasks") == [(0,)]
    again.database.close()


def test_where_a_trajectory_came_from_is_written_once(home: CaptureHome, tmp_path: Path) -> None:
    home.capture(claude_code(tmp_path))
    with sqlite3.connect(home.config.database_path) as connection:
        for statement in (
            "UPDATE captured_sessions SET path = 'elsewhere'",
            "DELETE FROM captured_sessions",
            "UPDATE captured_tasks SET task = 7",
            "DELETE FROM captured_tasks",
            "INSERT OR REPLACE INTO captured_tasks SELECT * FROM captured_tasks",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="write-once"):
                connection.execute(statement)
    connection.close()


def test_while_a_session_goes_on_only_closed_tasks_are_taken(
    home: CaptureHome, tmp_path: Path
) -> None:
    path, importer = claude_code(tmp_path), IMPORTERS["claude-code"]
    going_on = Look("follower", final=False)
    assert [t.status for t in home.capturing.look(path, importer, going_on).tasks] == ["open"]
    records = [json.loads(line) for line in path.read_text().splitlines()]
    prompt = {**records[1], "uuid": "u1"}
    prompt["message"] = {"role": "user", "content": "Now triple(number)."}
    more = json.loads(json.dumps(records[2:4]).replace('"t0"', '"t7"').replace("double", "triple"))
    say_more(path, prompt, {**more[0], "uuid": "a7"}, {**more[1], "uuid": "r7"})
    tasks = home.capturing.look(path, importer, going_on).tasks
    assert [task.status for task in tasks] == ["stored", "open"]
    still = Look("follower", final=False, still_seconds=home.config.capture.quiet_seconds)
    tasks = home.capturing.look(path, importer, still).tasks
    assert [task.status for task in tasks] == ["known", "stored"]
    assert home.capturing.is_read(path)
    assert [home.store.get(str(t.trajectory_id)).outcome for t in tasks] == ["success", "unknown"]


def test_a_task_that_grew_is_stored_anew_beside_what_it_was(
    home: CaptureHome, tmp_path: Path
) -> None:
    path = claude_code(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    (before,) = home.capture(path)
    path.write_text("".join(lines))
    (after,) = home.capture(path)
    assert (before.outcome, after.outcome) == ("unknown", "success")
    assert [before.status, after.status] == ["stored", "stored"]
    rows = home.database.query("SELECT task, count(*) FROM captured_tasks GROUP BY task")
    assert rows == [(0, 2)]


def test_following_stores_only_so_many_in_a_minute_and_reads_only_so_much(tmp_path: Path) -> None:
    home = CaptureHome(tmp_path, max_per_minute=1, max_file_bytes=5000)
    claude, aider = AGENTS["claude-code"](tmp_path), AGENTS["aider"](tmp_path)
    first = home.capturing.look(claude, IMPORTERS["claude-code"], FOLLOWED).tasks
    second = home.capturing.look(aider, IMPORTERS["aider"], FOLLOWED).tasks
    assert [task.status for task in (*first, *second)] == ["stored", "deferred"]
    assert home.capturing.is_read(claude) and not home.capturing.is_read(aider)
    assert [task.status for task in home.capture(aider)] == ["stored"]  # the user asked for it
    claude.write_text(claude.read_text() + "x" * 5000)
    with pytest.raises(InvalidInputError, match="larger than"):
        home.capture(claude)
    home.database.close()


def test_a_fifo_or_a_folder_of_nothing_is_refused_and_not_waited_for(
    home: CaptureHome, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "session.jsonl")
    for path in (tmp_path / "session.jsonl", tmp_path / "nowhere", tmp_path):
        with pytest.raises(InvalidInputError):
            home.capture(path)
    with pytest.raises(InvalidInputError, match="not a regular file"):
        home.capture(tmp_path / "session.jsonl", agent="claude-code")


def test_a_sessions_id_is_always_the_same_and_spells_no_path() -> None:
    plain = Session("codex", "0199-c0de", ())
    assert session_id_of("codex", plain) == "codex-0199-c0de"
    strange = [Session("codex", name, ()) for name in ("../../etc", "a/b", "x" * 300, "\ud800")]
    ids = {session_id_of("codex", session) for session in strange}
    assert len(ids) == 4 and all(len(one) <= 80 and "/" not in one for one in ids)
    # A session that is dropped cannot pass for another agent's own.
    dropped = Session("codex", "0199-c0de", ())
    assert session_id_of("inbox", dropped) == "inbox-codex-0199-c0de"
