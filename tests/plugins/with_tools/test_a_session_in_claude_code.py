"""A session in the real Claude Code with the plugin installed becomes a trajectory.

Everything is real but the model, which `played_model` plays on a loopback port: it writes a
function with a mistake, runs the tests, mends it and runs them again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugins.facts import ROOT
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.models import Trajectory
from rune_engine.projects import identify
from rune_engine.trajectories import TrajectoryStore

Run = Callable[..., subprocess.CompletedProcess[str]]
TASK = "Write add(a, b) in adder.py; test_adder.py has to pass."
TESTS = "from adder import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
CAPTURE_SECONDS = 60


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A small repository whose test fails."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "test_adder.py").write_text(TESTS)
    subprocess.run(["git", "init", "--quiet", str(work)], check=True)
    return work


@pytest.fixture
def model(work: Path, tmp_path: Path) -> Iterator[str]:
    """The address of the played model."""
    file = str(work / "adder.py")
    tests = ["Bash", {"command": f"{sys.executable} -m pytest -q", "description": "tests"}]
    turns = [
        ["Write", {"file_path": file, "content": "def add(a, b):\n    return a - b\n"}],
        tests,
        ["Edit", {"file_path": file, "old_string": "a - b", "new_string": "a + b"}],
        tests,
        "It adds.",
    ]
    (tmp_path / "turns.json").write_text(json.dumps(turns))
    command = [sys.executable, str(Path(__file__).with_name("played_model.py"))]
    process = subprocess.Popen(
        [*command, str(tmp_path / "turns.json")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.wait()


@pytest.fixture
def session(claude: Run, work: Path, model: str) -> Callable[[], None]:
    """Plays the session, with the plugin installed."""
    assert claude("plugin", "marketplace", "add", str(ROOT)).returncode == 0
    assert claude("plugin", "install", "rune@rune").returncode == 0

    def play() -> None:
        rights = ["--permission-mode", "acceptEdits", "--allowedTools", "Bash"]
        said = claude("-p", TASK, *rights, cwd=work, ANTHROPIC_BASE_URL=model)
        assert said.stdout.strip() == "It adds.", said.stderr
        assert (work / "adder.py").read_text() == "def add(a, b):\n    return a + b\n"

    return play


def captured(home: Path) -> list[Trajectory]:
    """What was captured, once something is; nothing if it takes too long."""
    end = time.monotonic() + CAPTURE_SECONDS
    database = open_database(load_config(home=home))
    try:
        store = TrajectoryStore(database)
        while time.monotonic() < end:
            if found := store.page().trajectories:
                return found
            time.sleep(0.2)
        return []
    finally:
        database.close()


def test_a_session_becomes_a_trajectory_with_its_attempts_and_its_project(
    claude: Run, work: Path, session: Callable[[], None], tmp_path: Path
) -> None:
    def rune(*arguments: str) -> None:
        done = claude("-m", "rune_engine.cli.main", *arguments, command=sys.executable, cwd=work)
        assert done.returncode == 0, done.stderr

    rune("capture", "allow", "claude-code")
    try:
        session()
        (trajectory,) = captured(tmp_path / "home/memory")
    finally:
        rune("engine", "stop")
    assert trajectory.project_id == identify(str(work)).id
    assert trajectory.task_description == TASK
    assert trajectory.outcome == "success"
    assert [attempt.tests_passed for attempt in trajectory.attempts] == [False, True]
    assert "assert -1 == 5" in trajectory.attempts[0].stdout + trajectory.attempts[0].stderr


def test_before_it_is_allowed_every_hook_fires_and_notes_no_content(
    session: Callable[[], None], tmp_path: Path
) -> None:
    memory = tmp_path / "home/memory"
    memory.mkdir()
    session()
    (noted,) = (memory / "hooks").glob("*.jsonl")
    lines = [line for line in noted.read_text().splitlines() if line]
    assert [json.loads(line)["hook_event_name"] for line in lines] == [
        "SessionStart",
        "UserPromptSubmit",
        "PostToolUse",
        "PostToolUseFailure",
        "PostToolUse",
        "PostToolUse",
        "Stop",
        "SessionEnd",
    ]
    assert TASK not in noted.read_text()
    assert "a - b" not in noted.read_text()
