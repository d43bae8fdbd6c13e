"""Decides, outside of the sandbox, whether answers are what the tests expect. Pure.

Nothing here runs code of the tests or of the candidate: answers are plain values that came through
`values.decode`, expectations are expressions that `Evaluator` evaluates.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rune_engine.sandbox.cases import Answer, Cases, Expectation, Frame, Pending
from rune_engine.sandbox.expressions import Evaluator
from rune_engine.sandbox.inside.values import Opaque, shown
from rune_engine.sandbox.operations import Beyond, Unusable

_HEAD = "Traceback (most recent call last):\n"
_OWN_ERRORS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Returned:
    """A call returned this value."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """A call raised: the built-in exceptions it is one of, nearest first, and what Python prints.

    `kind` is the verdict that it makes where nothing expects it.
    """

    names: tuple[str, ...]
    text: str
    kind: str = "candidate_error"
    call: int = -1
    loading: bool = False


Outcome = Returned | Raised


@dataclass(frozen=True)
class Finding:
    """Whether one expectation was met. `text` is the traceback that Python would have printed."""

    ok: bool
    kind: Literal["pass", "fail", "candidate_error", "resource_exceeded"] = "pass"
    message: str = ""
    text: str = ""


class _CandidateRaised(Exception):
    def __init__(self, raised: Raised) -> None:
        self.raised = raised


def examine(expectation: Expectation, outcomes: Sequence[Outcome], tests: str) -> Finding:
    """Whether `expectation` is met by the `outcomes` of the calls."""
    resolve = _Resolver(outcomes)
    try:
        value = Evaluator(expectation.names, resolve)(expectation.expression)
        if isinstance(value, Opaque) and expectation.kind == "holds":
            raise Unusable(repr(value))
    except _CandidateRaised as error:
        return _on_raised(expectation, error.raised, tests)
    except (Unusable, AssertionError) as error:  # the latter from an object inside the answer
        said = f"got {error}, which cannot be compared"
        return _failed(expectation, tests, said, "AssertionError")
    except Beyond as error:
        said = f"the answer cannot be compared: {error}"
        return _failed(expectation, tests, said, "AssertionError")
    except _OWN_ERRORS as error:
        line = f"{type(error).__name__}: {error}"
        return _failed(expectation, tests, line, line, "candidate_error")
    if expectation.kind == "raises":
        said = f"{' or '.join(expectation.raises)} was not raised"
        return _failed(expectation, tests, said, f"AssertionError: {said}")
    if expectation.kind == "holds" and not value:
        said = _compared(expectation, resolve)
        *outer, last = expectation.stack
        if isinstance(expectation.expression, ast.UnaryOp | ast.BoolOp):
            blamed = _blamed(expectation.expression)
            expectation = replace(expectation, stack=(*outer, replace(last, focus=blamed)))
        return _failed(expectation, tests, said, _assertion_error(expectation, said))
    return Finding(ok=True)


def control(cases: Cases, outcomes: Sequence[Outcome], tests: str) -> bool:
    """The negative control: whether wrong answers are told from right ones.

    All answers are replaced by a fresh value that equals nothing; then, among the right `outcomes`
    where there are any, single ones. Both must be found.
    """
    total = len(cases.calls)
    stub: Outcome = Returned(Opaque("control"))
    if not _finds(cases, [stub] * total, tests):
        return False
    spots = {0, total // 2, total - 1}
    return not outcomes or any(
        _finds(cases, [*outcomes[:spot], stub, *outcomes[spot + 1 :]], tests) for spot in spots
    )


def _finds(cases: Cases, outcomes: Sequence[Outcome], tests: str) -> bool:
    return any(not examine(each, outcomes, tests).ok for each in cases.expectations)


class _Resolver:
    """Puts the answers where their stand-ins are."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._outcomes = outcomes

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Pending):
            return Evaluator(value.names, self)(value.expression)
        if not isinstance(value, Answer):
            return value
        outcome = self._outcomes[value.call]
        if isinstance(outcome, Raised):
            raise _CandidateRaised(outcome)
        return outcome.value


def _on_raised(expectation: Expectation, raised: Raised, tests: str) -> Finding:
    last = (raised.text.strip().splitlines() or ["it raised"])[-1]
    if raised.loading:
        return Finding(ok=False, kind=raised.kind, message=last[:300], text=raised.text)  # type: ignore[arg-type]
    if expectation.kind == "raises":
        if set(expectation.raises) & set(raised.names):
            return Finding(ok=True)
        if "AssertionError" in raised.names and "AssertionError" not in expectation.raises:
            return _failed(expectation, tests, "AssertionError", raised.text, "candidate_error")
    return _failed(_focused(expectation, raised.call), tests, last, raised.text, raised.kind)


def _focused(expectation: Expectation, call: int) -> Expectation:
    """The same, with that call underlined in its last line."""
    for node in ast.walk(expectation.expression):
        if isinstance(node, ast.Name) and node.id == f"<answer {call}>":
            *outer, last = expectation.stack
            if last.line == node.lineno:
                return replace(expectation, stack=(*outer, replace(last, focus=node)))
    return expectation


def _failed(
    expectation: Expectation, tests: str, message: str, tail: str, kind: Any = "fail"
) -> Finding:
    lines = tests.splitlines()
    head = "".join(_drawn(frame, lines) for frame in expectation.stack)
    text = f"{_HEAD}{head}{tail.removeprefix(_HEAD).rstrip()}\n"
    return Finding(ok=False, kind=kind, message=message[:300], text=text)


def _drawn(frame: Frame, lines: Sequence[str]) -> str:
    head = f'  File "tests.py", line {frame.line}, in {frame.where}\n'
    if not 0 < frame.line <= len(lines):
        return head
    line = lines[frame.line - 1]
    source = line.strip()
    return f"{head}    {source}\n{_underlined(frame.focus, line, source)}"


def _underlined(focus: ast.AST | None, line: str, source: str) -> str:
    if not isinstance(focus, ast.expr) or focus.end_lineno != focus.lineno:
        return ""
    raw = line.encode()
    before = len(raw[: focus.col_offset].decode(errors="replace"))
    width = len(raw[focus.col_offset : focus.end_col_offset].decode(errors="replace"))
    start = before - (len(line) - len(line.lstrip()))
    if start < 0 or not width or width >= len(source):
        return ""
    return f"    {' ' * start}{'^' * width}\n"


def _blamed(node: ast.expr) -> ast.expr | None:
    """The part of a failed assertion that Python 3.11 underlines."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return None
    return _blamed(node.values[-1]) if isinstance(node, ast.BoolOp) else node


def _assertion_error(expectation: Expectation, said: str) -> str:
    focus = expectation.stack[-1].focus
    if isinstance(focus, ast.Call) and ast.unparse(focus.func).startswith("self."):
        return f"AssertionError: {said.replace(' against ', ' != ')}"  # as unittest says it
    try:
        if expectation.message is not None:
            return f"AssertionError: {Evaluator(expectation.names)(expectation.message)}"
    except (Beyond, Unusable, *_OWN_ERRORS):
        pass
    return "AssertionError"


def _compared(expectation: Expectation, resolve: _Resolver) -> str:
    """What both sides of a comparison were; only for people."""
    node = expectation.expression
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return "the assertion does not hold"
    left, right = (
        shown(Evaluator(expectation.names, resolve)(side))
        for side in (node.left, node.comparators[0])
    )
    return f"{left} against {right}"
