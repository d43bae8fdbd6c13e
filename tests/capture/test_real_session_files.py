"""Session files of real agents import as a person reads them: written down by hand, by reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rune_engine.capture.capturing import Capturing
from rune_engine.capture.importers import sessions_below
from rune_engine.capture.sources import Sources
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.models import CaptureParams, Trajectory
from rune_engine.trajectories import TrajectoryStore

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="no recorded sessions beside the checkout"
)

REPRODUCE = """\
from marshmallow.fields import TimeDelta
from datetime import timedelta

td_field = TimeDelta(precision="milliseconds")

obj = dict()
obj["td_field"] = timedelta(milliseconds=345)

print(td_field.serialize("td_field", obj))
"""
RETURN = "return int(round(value.total_seconds() / base_unit.total_seconds()))"
FIELDS = "src/marshmallow/fields.py"


class Home:
    def __init__(self, folder: Path) -> None:
        config = load_config(home=folder / "home")
        self.database = open_database(config)
        self.store = TrajectoryStore(self.database)
        sources = Sources(self.database, config)
        self.capturing = Capturing(config, self.database, self.store, sources)

    def trajectories_of(self, path: Path) -> list[Trajectory]:
        """The trajectories that a file becomes, in the order of its tasks."""
        report = self.capturing.import_path(CaptureParams(path=str(path)))
        assert not report.skipped
        assert {task.status for task in report.tasks} == {"stored"}
        return [self.store.get(str(task.trajectory_id)) for task in report.tasks]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.database.close()


def facts(trajectory: Trajectory) -> list[tuple[str, str, str, int | None, bool | None]]:
    return [
        (a.generated_code, a.stdout, a.stderr, a.exit_code, a.tests_passed)
        for a in trajectory.attempts
    ]


def test_a_claude_code_transcript_without_tests_is_one_task_of_unknown_outcome(home: Home) -> None:
    (task,) = home.trajectories_of(DATA / "claude_code" / "sample_session.jsonl")
    assert task.task_description == "Create a hello world function"
    assert (task.outcome, task.session_id) == ("unknown", "claude-code-test-session-id")
    assert task.project_id.startswith("project-")  # /project is not on this machine
    commit = "$ git add . && git commit -m 'Add hello function'\n"
    assert facts(task) == [
        (
            "def hello():\n    return 'Hello, World!'\n",
            f"{commit}[main abc1234] Add hello function\n 1 file changed",
            "",
            0,
            None,
        )
    ]
    assert home.store.count_distillable(task.project_id) == 0


def test_a_claude_code_web_session_is_four_tasks_of_which_one_passed_its_tests(home: Home) -> None:
    tasks = home.trajectories_of(DATA / "claude_code" / "sample_session_web.json")
    assert [(task.task_description, task.outcome) for task in tasks] == [
        ("Create a simple Python function to add two numbers", "success"),
        ("Now edit the file to add a subtract function", "exhausted"),
        ("Fix the issue and commit", "unknown"),
        ("Add a multiply function too", "unknown"),
    ]
    add, subtract, fix, multiply = (facts(task) for task in tasks)
    assert len(add) == len(subtract) == len(fix) == len(multiply) == 1

    code, stdout, stderr, exit_code, passed = add[0]
    body = '    """Add two numbers together."""\n    return a + b\n'
    assert code == f"def add(a: int, b: int) -> int:\n{body}"
    assert stdout.startswith("$ python -m pytest tests/\n===== test session starts =====\n")
    assert "===== 2 passed in 0.05s =====\n$ git add . && git commit -m 'Add math_utils" in stdout
    assert stdout.endswith("To github.com:example/project.git\n   def5678..abc1234  main -> main")
    assert (stderr, exit_code, passed) == ("", 0, True)

    assert subtract[0] == (
        "    return a + b\n\n\ndef subtract(a: int, b: int) -> int:\n"
        '    """Subtract b from a."""\n    return a - b\n',
        "$ python -m pytest tests/ -v\n===== FAILURES =====\n"
        "test_subtract - AssertionError: expected 5 but got None",
        "",
        1,
        False,
    )
    assert fix[0] == (
        "assert subtract(10, 5) == 5\n",
        "$ git add . && git commit -m 'Add subtract function and fix tests'\n"
        "[main def5678] Add subtract function and fix tests\n"
        " 2 files changed, 10 insertions(+), 1 deletion(-)",
        "",
        0,
        None,
    )
    product = '    """Multiply two numbers."""\n    return a * b\n'
    code = f"    return a - b\n\n\ndef multiply(a: int, b: int) -> int:\n{product}"
    assert multiply[0] == (code, "", "", None, None)


def test_an_swe_agent_run_of_a_program_that_asserts_and_stays_silent_is_a_success(
    home: Home,
) -> None:
    # The editor shows all 23 lines of main.py: it calls `check`, which asserts.
    (task,) = home.trajectories_of(DATA / "swe_agent" / "humanevalfix-python-0.traj")
    asked = "I have a function that has a bug and needs to be fixed, can you help?"
    assert (task.task_description, task.outcome) == (asked, "success")
    assert task.project_id.startswith("swe-bench__humanevalfix-python-")
    fixed = "                distance = abs(elem - elem2)\n"
    assert facts(task) == [(fixed, "$ python main.py", "", None, True)]


@pytest.mark.parametrize(
    ("name", "root", "refused", "final"),
    [
        (
            "function-calling",
            "/testbed",
            f"# round to nearest int\n{RETURN}\n",
            f"# round to nearest int\n        {RETURN}\n",
        ),
        (
            "thought-action",
            "/marshmallow-code__marshmallow",
            f"{RETURN}  # round to nearest int\n",
            f"        {RETURN}  # round to nearest int\n",
        ),
    ],
)
def test_an_swe_agent_run_that_prints_and_asserts_nothing_has_no_test_evidence(
    home: Home, name: str, root: str, refused: str, final: str
) -> None:
    (task,) = home.trajectories_of(DATA / "swe_agent" / f"marshmallow-1867-{name}.traj")
    assert task.outcome == "unknown"
    assert task.task_description.startswith("TimeDelta serialization precision\nHi there!")
    assert task.task_description.endswith("blob/dev/src/marshmallow/fields.py#L1474")
    first, second, third = facts(task)
    assert first == (REPRODUCE, "$ python reproduce.py\n344", "", None, None)
    files = f"# file: {root}/reproduce.py\n{REPRODUCE}\n# file: {root}/{FIELDS}\n{refused}"
    code, stdout, stderr, exit_code, passed = second
    assert (code, stdout, exit_code, passed) == (files, "", None, None)
    assert stderr.startswith("Your proposed edit has introduced new syntax error(s).")
    assert "E999 IndentationError: unexpected indent" in stderr
    assert third == (final, "$ python reproduce.py\n345\n$ rm reproduce.py", "", None, None)


def test_importing_everything_twice_adds_nothing(home: Home) -> None:
    units = [unit for unit, _ in sessions_below(DATA)]
    assert len(units) == 5
    reports = [home.capturing.import_path(CaptureParams(path=str(u))) for u in [*units, *units]]
    statuses = [task.status for report in reports for task in report.tasks]
    assert statuses == ["stored"] * 8 + ["known"] * 8
    assert home.store.page().total == 8
    for report in reports:
        for task in report.tasks:
            assert task.trajectory_id is not None
            found = home.capturing.provenance.of(task.trajectory_id)
            assert found is not None
            assert (found.path, found.source, found.task) == (report.path, report.source, task.task)
