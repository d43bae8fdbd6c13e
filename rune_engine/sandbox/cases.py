"""What a test suite says, as data: which calls to make, and what must hold of their answers.

`compile_tests` (compiling.py) makes it; `oracle.py` decides with it. The calls go into the sandbox,
the expectations never do.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Call:
    """One call of one of the candidate's functions, with plain values."""

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """Stands for the answer to the call of that index."""

    call: int


@dataclass(frozen=True)
class Pending:
    """Stands for the value of an expression that needs answers."""

    expression: ast.expr
    names: Mapping[str, Any]


@dataclass(frozen=True)
class Frame:
    """A line of the tests, as a traceback shows it; `focus` is what Python underlines."""

    line: int
    where: str
    focus: ast.AST | None = None


@dataclass(frozen=True)
class Expectation:
    """What must be so, in the tests' own order.

    `kind`: the expression is true; it can be evaluated at all; evaluating it raises one of
    `raises`. `calls` are those whose answers it needs and that no expectation before it needed.
    """

    kind: Literal["holds", "evaluates", "raises"]
    expression: ast.expr
    names: Mapping[str, Any]
    stack: tuple[Frame, ...]
    calls: tuple[int, ...]
    raises: tuple[str, ...] = ()
    message: ast.expr | None = None


@dataclass(frozen=True)
class Cases:
    """A whole suite as data: nothing of it has to be run."""

    calls: tuple[Call, ...]
    expectations: tuple[Expectation, ...]
