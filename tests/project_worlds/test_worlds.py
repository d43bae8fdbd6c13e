"""Project worlds: real packages, honest splits, tasks that hold."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from project_worlds import (
    OPERATIONS,
    Split,
    make_held_out,
    make_plain_task,
    make_project,
    make_sessions,
    split_of,
)
from project_worlds.mistakes import MISTAKES, MistakeKind, failure, wrong_attempt
from rune_engine.config import SandboxLimits
from rune_engine.sandbox import Sandbox

SEEDS = range(20)


def _passes(code: str, tests: str, folder: Path) -> bool:
    """Run code of this repository's own making in a fresh interpreter."""
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}\n{tests}"
    return (
        subprocess.run([sys.executable, "-I", "-c", program], capture_output=True).returncode == 0
    )


def test_a_seed_always_gives_the_same_project() -> None:
    assert make_project(3).source() == make_project(3).source()
    assert make_project(3).source() != make_project(4).source()


def test_a_project_is_an_importable_package_with_documented_helpers(tmp_path: Path) -> None:
    project = make_project(1)
    project.write(tmp_path)
    names = list(project.helpers.values())
    show = f"print(*[getattr({project.name}, name).__doc__ for name in {names}])"
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {project.name}; {show}"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(operation.title.capitalize() in done.stdout for operation in project.operations)


def test_a_word_is_of_one_split() -> None:
    words: dict[str, set[str]] = {}
    for split in get_args(Split):
        projects = [make_project(seed, split) for seed in range(200)]
        names = [p.name for p in projects] + [n for p in projects for n in p.helpers.values()]
        words[split] = {word for name in names for word in name.split("_")}
        assert {split_of(word) for word in words[split]} == {split}
    assert len(set[str]().union(*words.values())) == sum(map(len, words.values()))


def test_every_reference_solution_passes_its_tests(tmp_path: Path) -> None:
    for seed in range(6):
        project = make_project(seed)
        project.write(tmp_path)
        sessions = make_sessions(project)
        held_out = make_held_out(project, sessions)
        tasks = [s.task for s in sessions] + [*held_out.new_combinations, *held_out.new_wordings]
        program = "\n".join(f"{task.solution}\n{task.tests}" for task in tasks)
        assert _passes(program, "", tmp_path), f"project seed {seed}"


def test_every_plain_reference_solution_passes_its_tests(tmp_path: Path) -> None:
    rng = random.Random(0)
    tasks = [make_plain_task(rng) for _ in range(60)]
    assert _passes("\n".join(f"{task.solution}\n{task.tests}" for task in tasks), "", tmp_path)


def test_a_failed_first_attempt_really_fails(tmp_path: Path) -> None:
    tried = 0
    for seed in range(4):
        project = make_project(seed)
        project.write(tmp_path)
        for session in make_sessions(project):
            for wrong in session.attempts[:-1]:
                tried += 1
                assert not _passes(wrong, session.task.tests, tmp_path)
    assert tried > 0


@pytest.mark.parametrize("kind", MISTAKES)
def test_what_is_said_of_a_mistake_is_what_the_sandbox_prints(
    kind: MistakeKind, tmp_path: Path
) -> None:
    """But for the underlining, of which the sandbox has Python 3.11's."""
    rng = random.Random(kind)
    project = make_project(7)
    project.write(tmp_path)
    session = next(s for s in make_sessions(project) if len(s.task.steps) == 2)
    wrong = wrong_attempt(rng, project, session.task, kind)
    said = failure(project, wrong, session.task.tests)
    sandbox = Sandbox(SandboxLimits())
    verdict = asyncio.run(sandbox.run(wrong, session.task.tests, workspace=tmp_path))
    assert said is not None
    assert _lines(verdict.evidence.stderr) == _lines(said)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip(" ^")]


def test_nothing_is_said_of_what_passes() -> None:
    project = make_project(7)
    task = make_sessions(project)[0].task
    assert failure(project, task.solution, task.tests) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_no_held_out_task_was_recorded(seed: int) -> None:
    project = make_project(seed)
    sessions = make_sessions(project)
    held_out = make_held_out(project, sessions)
    combinations = {session.task.combination for session in sessions}
    phrases = {phrase for session in sessions for phrase in session.task.phrases}
    assert not combinations & {task.combination for task in held_out.new_combinations}
    assert not phrases & {phrase for task in held_out.new_wordings for phrase in task.phrases}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dozen_sessions_show_every_helper(seed: int) -> None:
    project = make_project(seed)
    shown = {
        step.operation.key for session in make_sessions(project, 12) for step in session.task.steps
    }
    assert shown == set(project.helpers)


def test_a_task_never_names_a_helper() -> None:
    for seed in SEEDS:
        project = make_project(seed)
        for session in make_sessions(project):
            words = set(re.findall(r"\w+", session.task.description))
            assert not words & set(project.helpers.values())


def test_a_house_rule_decides_what_an_empty_input_gets(tmp_path: Path) -> None:
    project = make_project(2)
    project.write(tmp_path)
    task = make_sessions(project)[0].task
    assert _passes(task.solution, task.tests, tmp_path)
    other = task.solution.replace(project.conventions.empty, "return 'another rule'")
    assert not _passes(other, task.tests, tmp_path)


def test_no_two_operations_share_a_phrase() -> None:
    phrases = [phrase for operation in OPERATIONS for phrase in operation.phrases]
    assert len(phrases) == len(set(phrases))
