"""Wrong attempts, one mistake each, and what running them says."""

from __future__ import annotations

import linecache
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Literal

from project_worlds.names import SYLLABLES, make_helper_name, split_of
from project_worlds.project import EMPTY_STATEMENTS, ENTRY_NAMES, Project
from project_worlds.tasks import Task

MistakeKind = Literal["misspelt", "unknown", "entry", "empty"]
MISTAKES: tuple[MistakeKind, ...] = ("misspelt", "unknown", "entry", "empty")


def wrong_attempt(rng: random.Random, project: Project, task: Task, kind: MistakeKind) -> str:
    """The task's solution with one mistake in it, which its tests show.

    misspelt: a helper's name with another last syllable; unknown: a helper that somebody new to
    the house made up; entry: the function under another name; empty: an empty input gets what the
    house does not want.
    """
    return _MAKERS[kind](rng, project, task)


def _misspelt(rng: random.Random, project: Project, task: Task) -> str:
    right = project.helpers[rng.choice(task.steps).operation.key]
    while True:
        wrong = right[:-2] + rng.choice(SYLLABLES)
        known = wrong in project.helpers.values()
        if not known and split_of(wrong.rpartition("_")[2]) == project.split:
            return task.solution.replace(right, wrong)


def _unknown(rng: random.Random, project: Project, task: Task) -> str:
    right = project.helpers[rng.choice(task.steps).operation.key]
    wrong = make_helper_name(rng, project.split, set(project.helpers.values()))
    return task.solution.replace(right, wrong)


def _entry(rng: random.Random, project: Project, task: Task) -> str:
    right = project.conventions.entry
    wrong = rng.choice([name for name in ENTRY_NAMES if name != right])
    return task.solution.replace(f"def {right}(", f"def {wrong}(")


def _empty(rng: random.Random, project: Project, task: Task) -> str:
    right = project.conventions.empty
    wrong = rng.choice([statement for statement in EMPTY_STATEMENTS if statement != right])
    return task.solution.replace(right, wrong, 1)


_MAKERS: Mapping[MistakeKind, Callable[[random.Random, Project, Task], str]] = {
    "misspelt": _misspelt,
    "unknown": _unknown,
    "entry": _entry,
    "empty": _empty,
}


def failure(project: Project, code: str, tests: str) -> str | None:
    """Run trusted, generated code against tests; the traceback, None where all of them pass.

    The text is what the sandbox prints, but for how much of a line it underlines. Never give it
    model-written code: that is what the sandbox is for.
    """
    with _importable(project) as package:
        names: dict[str, object] = {}
        for file, text in (("solution.py", code), ("tests.py", tests)):
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
            try:
                exec(compile(text, file, "exec"), names)
            except Exception as error:  # noqa: BLE001 - whatever the code raises is the answer
                return _told(error, {package, "solution.py", "tests.py"})
    return None


def _told(error: Exception, files: set[str]) -> str:
    told = traceback.TracebackException.from_exception(error)
    told.stack[:] = [frame for frame in told.stack if frame.filename in files]
    return "".join(told.format())


@contextmanager
def _importable(project: Project) -> Iterator[str]:
    """The package as a module that code may import, without a file; gives its file's name."""
    file = f"/workspace/{project.name}/__init__.py"
    source = project.source()
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    module = ModuleType(project.name)
    exec(_compiled(source, file), module.__dict__)
    sys.modules[project.name] = module
    try:
        yield file
    finally:
        del sys.modules[project.name], linecache.cache[file]


@lru_cache(maxsize=256)
def _compiled(source: str, file: str) -> CodeType:
    return compile(source, file, "exec")
