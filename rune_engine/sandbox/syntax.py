"""Small questions about the syntax and the values of tests, for compiling.py."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from typing import Any

from rune_engine.sandbox.operations import Beyond


def guarded(action: Any) -> Any:
    """What `action` returns; what it raises makes the suite one that has to run."""
    try:
        return action()
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise Beyond(f"they raise {type(error).__name__} by themselves") from error


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_unittest(node: Any) -> bool:
    return isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] in (
        ["unittest.TestCase"],
        ["TestCase"],
    )


def is_failure(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise) and node.exc is not None:
        return ast.unparse(node.exc).startswith("AssertionError")
    return (
        isinstance(node, ast.Assert)
        and isinstance(node.test, ast.Constant)
        and node.test.value is False
    )


def exceptions(node: ast.expr) -> tuple[str, ...]:
    """The built-in exceptions that `except` would catch, by name."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    names = tuple(ast.unparse(part) for part in parts)
    for name in names:
        kind = getattr(builtins, name, None)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise Beyond(f"the exception {name}"[:100])
    return names


def mutable_parts(value: Any) -> Iterator[Any]:
    """`value` and what is in it, as far as it can be changed."""
    if isinstance(value, list | set | dict):
        yield value
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from mutable_parts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from mutable_parts(item)
