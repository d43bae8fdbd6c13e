"""What the tests ask of the candidate: its calls in order, and what is expected of their answers.

An expression of the tests is taken apart here: calls of the candidate are written down and replaced
by names for their answers, everything else is evaluated. Knows no statements.
"""

from __future__ import annotations

import ast
import builtins
import copy
from dataclasses import dataclass, field
from typing import Any

from rune_engine.sandbox.cases import Answer, Call, Expectation, Frame, Pending
from rune_engine.sandbox.crossing import looks_like_class
from rune_engine.sandbox.expressions import Evaluator, check_admissible
from rune_engine.sandbox.operations import FUNCTIONS, TYPES, Beyond
from rune_engine.sandbox.syntax import guarded, mutable_parts

_MOST_CALLS = 256
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)

Names = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """Stands for the candidate's function of that name."""

    function: str


@dataclass(frozen=True)
class Solution:
    """Stands for the module `solution`."""


@dataclass(frozen=True)
class OwnCase:
    """Stands for a test case's own object."""


@dataclass(frozen=True)
class Place:
    """Where a statement stands: the names it sees, and the frames around it."""

    names: Names
    stack: tuple[Frame, ...]
    where: str

    def at(self, node: ast.AST, focus: ast.AST | None = None) -> tuple[Frame, ...]:
        return (*self.stack, Frame(node.lineno, self.where, focus))  # type: ignore[attr-defined]


@dataclass
class Ledger:
    """The calls and the expectations that were found so far."""

    calls: list[Call] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)
    _counted: int = 0
    _passed_in: dict[int, Any] = field(default_factory=dict)
    """Mutable values that the candidate was given, by id, and kept alive for that."""

    def special(self, node: ast.expr, place: Place) -> Candidate | Solution | None:
        """What a name stands for, where that is the candidate's."""
        if isinstance(node, ast.Name):
            value = place.names.get(node.id, self._unknown(node.id, place))
            return value if isinstance(value, Candidate | Solution) else None
        of_name = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if of_name and isinstance(place.names.get(node.value.id), Solution):  # type: ignore[attr-defined]
            return Candidate(node.attr)  # type: ignore[attr-defined]
        return None

    def _unknown(self, name: str, place: Place) -> Candidate | None:
        if name in place.names or hasattr(builtins, name) or name.startswith("__"):
            return None
        return Candidate(name)

    def _use(self, value: Any) -> Any:
        if isinstance(value, Answer | Pending):
            raise Beyond("something depends on an answer")
        if isinstance(value, Candidate | Solution | OwnCase | ast.AST):
            raise Beyond("a function is used as a value")
        if any(id(part) in self._passed_in for part in mutable_parts(value)):
            raise Beyond("a value that the candidate was given is used again")
        return value

    def known(self, node: ast.expr, place: Place) -> Any:
        """The value of an expression that needs no answer."""
        return guarded(lambda: Evaluator(place.names, self._use)(node))

    def recorded(self, node: ast.expr, place: Place) -> ast.expr:
        """`node` with the candidate's calls replaced by names that stand for their answers."""
        return _Recorder(self, place).visit(copy.deepcopy(node))  # type: ignore[no-any-return]

    def record_call(self, node: ast.Call, function: str, place: Place) -> ast.Name:
        evaluator = Evaluator(place.names, self._use)
        args, kwargs = guarded(lambda: evaluator.arguments(node))
        for value in (*args, *kwargs.values()):
            for part in mutable_parts(value):
                self._passed_in[id(part)] = part
        if looks_like_class(function):
            raise Beyond(f"the class {function}")
        if len(self.calls) >= _MOST_CALLS:
            raise Beyond(f"they make more than {_MOST_CALLS} calls")
        self.calls.append(Call(function, copy.deepcopy(args), copy.deepcopy(kwargs)))
        name = f"<answer {len(self.calls) - 1}>"
        place.names[name] = Answer(len(self.calls) - 1)
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def needed(self, expression: ast.expr, place: Place) -> Names:
        """The names that `expression` uses, with their values as they are now."""
        check_admissible(expression, place.names)
        found = [node for node in ast.walk(expression) if isinstance(node, ast.Name)]
        inner = {node.id for node in found if isinstance(node.ctx, ast.Store)}
        used = {node.id for node in found} - inner
        names = {}
        for name in sorted(used):
            if name in place.names:
                value = place.names[name]
                names[name] = value if isinstance(value, Answer | Pending) else self._use(value)
            elif name not in TYPES and name not in FUNCTIONS:
                raise Beyond(f"{name} is used as a value")
        return {name: copy.deepcopy(value) for name, value in names.items()}

    def expect(
        self,
        kind: Any,
        expression: ast.expr,
        names: Names,
        stack: tuple[Frame, ...],
        *,
        raises: tuple[str, ...] = (),
        message: ast.expr | None = None,
    ) -> None:
        fresh = tuple(range(self._counted, len(self.calls)))
        self._counted = len(self.calls)
        self.expectations.append(
            Expectation(kind, expression, names, stack, fresh, raises, message)
        )


class _Recorder(ast.NodeTransformer):
    def __init__(self, ledger: Ledger, place: Place) -> None:
        self._ledger = ledger
        self._place = place
        self._inner = 0

    def visit(self, node: ast.AST) -> Any:
        inner = isinstance(node, _COMPREHENSIONS)
        self._inner += inner
        result = super().visit(node)
        self._inner -= inner
        return result

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = self._ledger.special(node.func, self._place)
        if not isinstance(function, Candidate):
            return self.generic_visit(node)
        if self._inner:
            raise Beyond("the candidate is called in a comprehension")
        return self._ledger.record_call(node, function.function, self._place)


def needs_answers(names: Names) -> bool:
    return any(isinstance(value, Answer | Pending) for value in names.values())
