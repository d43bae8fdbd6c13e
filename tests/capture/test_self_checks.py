"""A program that asserts is a test of itself; one that only runs is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rune_engine.capture.importers import IMPORTERS
from rune_engine.capture.self_checks import checks_itself
from rune_engine.capture.tasks import tasks_of

CHECKED = "def f():\n    return 1\ndef check(f):\n    assert f() == 1\ncheck(f)"


@pytest.mark.parametrize(
    "program",
    [
        CHECKED,
        "assert 1 + 1 == two",
        "for x in range(3):\n    assert x < 3",
        "def main():\n    assert x\nif __name__ == '__main__':\n    main()",
    ],
)
def test_assertions_that_run_are_a_check(program: str) -> None:
    assert checks_itself(program)


@pytest.mark.parametrize(
    "program",
    [
        "print(1)",
        "def check(f):\n    assert f()",
        "try:\n    assert x\nexcept AssertionError:\n    pass",
        "if debug:\n    assert x",
        "assert True",
        "assert (",
        "import pytest",
        "(" * 5000,
        "\0",
    ],
)
def test_assertions_that_may_not_run_or_may_not_count_are_none(program: str) -> None:
    assert not checks_itself(program)


def run(folder: Path, output: str, *between: str, shown: str = CHECKED, of: int = 5) -> str:
    """The outcome of a run that edits `main.py`, sees it, and runs it."""
    lines = "\n".join(f"{n}:{line}" for n, line in enumerate(shown.split("\n"), 1))
    state = {"open_file": "/work/main.py", "working_dir": "/work"}
    edited = f"[File: /work/main.py ({of} lines total)]\n{lines}\nFile updated. Please review."
    actions = [("edit 2:2\n    return 1\nend_of_edit", edited)]
    actions += [(command, "") for command in between]
    actions.append(("python main.py", output))
    record = {
        "history": [{"role": "user", "content": "Mend it."}],
        "trajectory": [{"action": a, "observation": o, "state": state} for a, o in actions],
        "info": {"exit_status": "submitted"},
    }
    (folder / "run.traj").write_text(json.dumps(record))
    (session,) = IMPORTERS["swe-agent"].read(folder / "run.traj").sessions
    (task,) = tasks_of(session)
    return task.outcome


def test_the_outcome_is_what_the_assertions_say(tmp_path: Path) -> None:
    failed = "Traceback (most recent call last):\n  File 'main.py'\nAssertionError"
    other = "Traceback (most recent call last):\n  File 'main.py'\nImportError: no x"
    assert run(tmp_path, "") == "success"
    assert run(tmp_path, "hello") == "success"
    assert run(tmp_path, failed) == "exhausted"
    assert run(tmp_path, other) == "unknown"
    assert run(tmp_path, "EXECUTION TIMED OUT") == "unknown"
    assert run(tmp_path, "", "ls -a") == "success"


def test_a_program_that_is_not_known_in_full_decides_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "", of=9) == "unknown"
    assert run(tmp_path, "", "./generate.sh") == "unknown"
    assert run(tmp_path, "", shown="def f():\n    return 1\nprint(f())\n\n") == "unknown"
