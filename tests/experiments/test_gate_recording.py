"""Sessions really run before they are taught, once, and the gate's own process loads no torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from experiments_support import SMALL

from rune_engine.errors import InvalidInputError
from rune_engine.experiments.recording import record
from rune_engine.experiments.subjects import Lesson, Subject, world_subject
from rune_engine.sandbox import Sandbox
from rune_engine.suspicion import may_teach


def advance() -> None:
    """Nobody looks."""


async def test_trajectories_hold_what_each_attempt_really_printed(tmp_path: Path) -> None:
    subject = world_subject(1, 1, SMALL)
    sandbox = Sandbox()
    [taught] = await record([subject], tmp_path, sandbox, advance)
    assert len(taught.trajectories) == len(subject.lessons)
    failed = [t for t in taught.trajectories if len(t.attempts) > 1]
    assert failed
    for trajectory in failed:
        wrong, right = trajectory.attempts
        assert wrong.tests_passed is False and "Error" in wrong.stderr
        assert "solution.py" in wrong.stderr or "tests.py" in wrong.stderr
        assert may_teach(right, trajectory.test_suite)
    assert len({t.content_hash for t in taught.trajectories}) == len(taught.trajectories)
    assert (taught.workspace / subject.names[0] / "__init__.py").is_file()
    nobody = Sandbox(tier="none that there is")
    assert await record([subject], tmp_path, nobody, advance) == [taught], "nothing runs twice"


async def test_a_changed_lesson_is_recorded_anew(tmp_path: Path) -> None:
    lesson = Lesson("Add.", "assert f(1) == 2\n", ("def f(x): return x + 1",))
    subject = Subject("s", 0, (lesson,), ())
    other = replace(subject, lessons=(replace(lesson, description="Add one."),))
    [first] = await record([subject], tmp_path, Sandbox(), advance)
    [second] = await record([other], tmp_path, Sandbox(), advance)
    assert first.trajectories[0].task_description == "Add."
    assert second.trajectories[0].task_description == "Add one."


async def test_a_lesson_that_does_not_pass_its_own_tests_is_refused(tmp_path: Path) -> None:
    lesson = Lesson("Add.", "assert f(1) == 2\n", ("def f(x): return x",))
    with pytest.raises(InvalidInputError, match="does not pass"):
        await record([Subject("s", 0, (lesson,), ())], tmp_path, Sandbox(), advance)


def test_the_gates_own_process_loads_no_torch() -> None:
    code = (
        "import sys, rune_engine.cli.experiment, rune_engine.experiments.gate as gate, "
        "rune_engine.experiments.report, rune_engine.experiments.plots, "
        "rune_engine.experiments.tracking; "
        "print(sorted({'torch', 'transformers', 'matplotlib', 'mlflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
