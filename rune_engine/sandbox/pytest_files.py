"""Tests that are pytest files, read before they run: what they must hold, and what goes inside.

The candidate is files in a folder, `solution.py` among them or not. Runs nothing, judges nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rune_engine.errors import InvalidInputError

_OURS = "_rune"
_INSIDE = Path(__file__).parent / "inside"
_BOOT = {"boot.py": "pytest_boot.py", "pytest_reporter.py": "pytest_reporter.py"}
_PLUGINS = frozenset({"pytest", "pytest_asyncio", "anyio", "trio"})
_SETTINGS = {
    *("conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini"),
    *("setup.cfg", "sitecustomize.py", "usercustomize.py"),
}
_CAN_SKIP = ("skip", "xfail", "SkipTest", "expectedFailure")
_FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class PytestFiles:
    """`expected` are the ids, without parameters, of tests that must be collected; whether each is
    a plain function, which pytest calls itself. `can_skip`: the files themselves speak of it.
    `libraries` are modules that no candidate could bring. `is_async`, `async_fixtures`: whether
    there are such functions; only the second need a plugin."""

    files: Mapping[str, str]
    expected: Mapping[str, bool] = field(default_factory=dict)
    can_skip: bool = False
    libraries: frozenset[str] = frozenset()
    is_async: bool = False
    async_fixtures: bool = False
    problem: str | None = None

    def request(self, candidate: Mapping[str, str], *, backwards: bool) -> dict[str, Any]:
        ours = {f"{_OURS}/{n}": (_INSIDE / file).read_text("utf-8") for n, file in _BOOT.items()}
        ours[f"{_OURS}/pytest.ini"] = "[pytest]\n"
        options = {
            "tests": [name for name in self.files if is_test_file(name)],
            "conftest": any(PurePosixPath(name).name == "conftest.py" for name in self.files),
            "backwards": backwards,
            "async": self.is_async,
            "async_fixtures": self.async_fixtures,
        }
        work = dict(candidate)
        return {"pytest": options, "files": {**self.files, **ours}, "work_files": work}


def needs_pytest(tests: str) -> bool:
    """Whether `tests` import pytest."""
    try:
        nodes = list(ast.walk(ast.parse(tests)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(name.split(".")[0] == "pytest" for name in _names(nodes))


def _names(nodes: list[ast.AST]) -> list[str]:
    names = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    return names + [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]


def as_file(tests: str) -> dict[str, str]:
    """One text of tests as a file; with the candidate's names, where it does not import them."""
    if "solution" not in tests:
        line = 0
        for number, node in enumerate(ast.parse(tests).body):
            docstring = number == 0 and isinstance(node, ast.Expr)
            future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
            if not docstring and not future:
                break
            line = node.end_lineno or line
        lines = tests.splitlines(keepends=True)
        head = "".join(lines[:line])
        head += "\n" if head and not head.endswith("\n") else ""
        tests = f"{head}from solution import *\n{''.join(lines[line:])}"
    return {"test_solution.py": tests}


def check_paths(files: Mapping[str, str]) -> None:
    """
    Raises:
        InvalidInputError: a name is no path within a folder.
    """
    for name in files:
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..", _OURS) for part in parts):
            raise InvalidInputError(
                f"{name!r} is not the name of a file within the project.",
                next_step="Use relative paths with forward slashes, such as shop/cart.py.",
            )


def forbidden(candidate: Mapping[str, str]) -> str | None:
    """The first file that would change how tests are run, not what is tested."""
    for name in candidate:
        last = PurePosixPath(name).name.lower()
        if last in _SETTINGS or last.endswith(".pth"):
            return name
    return None


def is_test_file(name: str) -> bool:
    last = PurePosixPath(name).name
    return last.endswith(".py") and (last.startswith("test_") or last.endswith("_test.py"))


def plan_files(files: Mapping[str, str], *, libraries: bool = False) -> PytestFiles:
    """What must be collected from `files`, whose own text alone decides it.

    `libraries`: the candidate is solution.py alone, and every other module has to be there.
    """
    expected: dict[str, bool] = {}
    for name, text in files.items():
        if not is_test_file(name):
            continue
        try:
            body = ast.parse(text, name).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return PytestFiles(files, problem=f"the tests do not compile: {error}")
        for node in body:
            for test, plain in _tests_in(node):
                expected[f"{name}::{test}"] = plain
    if not expected:
        return PytestFiles(files, problem="no file has a test that pytest would find")
    can_skip = any(word in text for text in files.values() for word in _CAN_SKIP)
    nodes = [node for name, text in files.items() for node in _nodes(name, text)]
    needed = {name.split(".")[0] for name in _names(nodes)} - {"solution"}
    functions = [node for node in nodes if isinstance(node, ast.AsyncFunctionDef)]
    return PytestFiles(
        files,
        expected,
        can_skip,
        frozenset(needed if libraries else needed & _PLUGINS),
        is_async=bool(functions),
        async_fixtures=any(_is_fixture(each) for each in functions),
    )


def _nodes(name: str, text: str) -> list[ast.AST]:
    """Of a file of Python; none of any other, or where it does not compile (pytest will say)."""
    try:
        return list(ast.walk(ast.parse(text))) if name.endswith(".py") else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _tests_in(node: ast.stmt) -> Iterator[tuple[str, bool]]:
    """(id, whether pytest calls it as a function)"""
    if _is_test(node):
        yield node.name, True  # type: ignore[attr-defined]
    if not isinstance(node, ast.ClassDef):
        return
    case = any(ast.unparse(base).endswith("TestCase") for base in node.bases)
    if not case and not _is_collected(node):
        return
    for method in node.body:
        if _is_test(method):
            yield f"{node.name}::{method.name}", not case  # type: ignore[attr-defined]


def _is_test(node: ast.stmt) -> bool:
    if not isinstance(node, _FunctionDef) or not node.name.startswith("test"):
        return False
    return not _is_fixture(node)


def _is_fixture(node: _FunctionDef) -> bool:
    return any("fixture" in ast.unparse(each) for each in node.decorator_list)


def _is_collected(node: ast.ClassDef) -> bool:
    own = {part.name for part in node.body if isinstance(part, _FunctionDef)}
    unmarked = not any(isinstance(n, ast.Name) and n.id == "__test__" for n in ast.walk(node))
    return node.name.startswith("Test") and "__init__" not in own and unmarked
