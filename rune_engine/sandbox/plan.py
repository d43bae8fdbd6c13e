"""Reads a test suite before it is run: what must be called, and whether it tests anything.

A suite that only defines things passes with any candidate. Pytest's rules for what is a test are
followed as far as no fixtures are needed, and pytest runs the suite where they are;
`unittest` classes run by `unittest`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

_FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef
_INERT = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
    ast.Pass,
)


@dataclass(frozen=True)
class Plan:
    """`to_call` are functions and `Class.method`s; `problem` says why no verdict is possible.

    `fixtures`: the tests take arguments, which only pytest can give them.
    """

    to_call: tuple[str, ...] = ()
    problem: str | None = None
    fixtures: bool = False


def plan_tests(tests: str) -> Plan:
    if not tests.strip():
        return Plan(problem="no tests were given")
    try:
        body = ast.parse(tests, "tests.py").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Plan(problem=f"the tests do not compile: {error}")
    acts = any(not _is_inert(node) for node in body)
    found = [test for node in body for test in _tests_in(node)]
    fixtures = [name for name, ready in found if not ready]
    if fixtures and not acts:
        return Plan(fixtures=True)
    if not found and not acts:
        return Plan(problem="the tests only define things and check nothing")
    return Plan(to_call=tuple(name for name, ready in found if ready))


def _is_inert(node: ast.stmt) -> bool:
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or isinstance(node, _INERT) or _is_main_guard(node)


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _tests_in(node: ast.stmt) -> list[tuple[str, bool]]:
    """(name, whether it can be called without arguments) of the tests that `node` defines."""
    if isinstance(node, _FunctionDef) and node.name.startswith("test"):
        return [(node.name, _required(node) == 0)]
    if not isinstance(node, ast.ClassDef):
        return []
    return [
        (f"{node.name}.{method.name}", _required(method) == 1)
        for method in node.body
        if isinstance(method, _FunctionDef) and method.name.startswith("test")
    ]


def _required(function: _FunctionDef) -> int:
    arguments = function.args
    positional = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    keyword = sum(default is None for default in arguments.kw_defaults)
    return positional + keyword
