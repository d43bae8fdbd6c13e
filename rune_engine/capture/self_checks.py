"""Whether a program checks itself: one that asserts while it runs is a test of what it asserts.

Decided from the program's text alone, which has to be known in full; nothing is ever executed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

_LONGEST = 100_000


def checks_itself(program: str) -> bool:
    """Whether running a Python program cannot end well without its assertions holding.

    Counted are `assert` at its top level, and in its own functions that it calls there; not what a
    `try` could swallow, nor what is only defined.
    """
    if len(program) > _LONGEST:
        return False
    try:
        module = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    functions = {each.name: each.body for each in module.body if isinstance(each, ast.FunctionDef)}
    checking = {name for name, body in functions.items() if any(map(_asserts, body))}
    return any(_asserts(each) or _calls(each) in checking for each in _run(module.body))


def _run(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """What a module runs when it is the program: its statements, and those of its main block."""
    for each in body:
        is_main = isinstance(each, ast.If) and "__name__" in ast.dump(each.test)
        yield from each.body if is_main and isinstance(each, ast.If) else [each]


def _asserts(statement: ast.stmt) -> bool:
    """Whether a statement asserts whenever it runs, in itself or in a loop."""
    if isinstance(statement, ast.Assert):
        return not isinstance(statement.test, ast.Constant)
    if isinstance(statement, ast.For | ast.With):
        return any(map(_asserts, statement.body))
    return False


def _calls(statement: ast.stmt) -> str | None:
    """The function that a statement does nothing but call."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        return called.id if isinstance(called, ast.Name) else None
    return None
