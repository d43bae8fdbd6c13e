"""Turns a test suite into `Cases` by walking its syntax tree: nothing of it is run.

Understood are asserts, `check(candidate)`, loops over literals, test functions, `unittest` and
`pytest.raises`, over what expressions.py can evaluate. A suite is compiled whole or not at all.
Where a compiled suite could mean something else than the suite itself (a value that was passed to
the candidate is used again, a call for its effect) it is left alone.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rune_engine.sandbox.cases import Answer, Call, Cases, Expectation, Frame, Pending
from rune_engine.sandbox.crossing import looks_like_class
from rune_engine.sandbox.expressions import Evaluator, bound, check_admissible
from rune_engine.sandbox.operations import (
    FUNCTIONS,
    MODULES,
    TYPES,
    Beyond,
    Module,
    random_functions,
)
from rune_engine.sandbox.syntax import (
    exceptions,
    guarded,
    is_failure,
    is_text,
    is_unittest,
    mutable_parts,
)
from rune_engine.sandbox.unittest_syntax import assertion_of

_MOST_CALLS = 256
_MOST_ROUNDS = 1000
_DEEPEST = 5
_SCALARS = (type(None), bool, int, float, complex, str, bytes, range)
_SUITE_ONLY = ("typing", "unittest", "__future__")
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)

Names = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """Stands for the candidate's function of that name."""

    function: str


@dataclass(frozen=True)
class _Solution:
    """Stands for the module `solution`."""


@dataclass(frozen=True)
class _Self:
    """Stands for a test case's own object."""


@dataclass(frozen=True)
class _Place:
    """Where a statement stands: the names it sees, and the frames around it."""

    names: Names
    stack: tuple[Frame, ...]
    where: str

    def at(self, node: ast.AST, focus: ast.AST | None = None) -> tuple[Frame, ...]:
        return (*self.stack, Frame(node.lineno, self.where, focus))  # type: ignore[attr-defined]


def compile_tests(tests: str, to_call: Sequence[str]) -> Cases | str:
    """The suite as data, or why it has to run inside.

    Args:
        to_call: the functions and methods that a test runner would call, as `plan_tests` says.
    """
    try:
        return _Compiler(tests).compile(to_call)
    except Beyond as error:
        return f"the tests cannot be compiled to data: {error}"
    except RecursionError:
        return "the tests cannot be compiled to data: they are nested too deeply"


@dataclass
class _Compiler:
    tests: str
    calls: list[Call] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)
    counted: int = 0
    passed_in: dict[int, Any] = field(default_factory=dict)
    """Mutable values that the candidate was given, by id, and kept alive for that."""

    def compile(self, to_call: Sequence[str]) -> Cases:
        place = _Place({}, (), "<module>")
        self._block(ast.parse(self.tests).body, place)
        cases = []
        for name in to_call:
            owner, _, method = name.rpartition(".")
            if owner and is_unittest(place.names.get(owner)):
                cases.append((owner, method))
            elif owner:
                self._method(place.names[owner], method, place)
            else:
                self._call_function(place.names[name], [], place)
        for owner, method in sorted(cases):
            self._method(place.names[owner], method, place)
        if not self.calls:
            raise Beyond("they call no function of the candidate")
        return Cases(tuple(self.calls), tuple(self.expectations))

    # --- statements ------------------------------------------------------------------------------

    def _block(self, body: Sequence[ast.stmt], place: _Place) -> None:
        for node in body:
            handler = getattr(self, f"_do_{type(node).__name__.lower()}", None)
            if handler is None:
                raise Beyond(f"`{ast.unparse(node)}`"[:100])
            handler(node, place)

    def _do_pass(self, node: ast.Pass, place: _Place) -> None:
        pass

    def _do_import(self, node: ast.Import, place: _Place) -> None:
        for alias in node.names:
            place.names[alias.asname or alias.name] = self._module(alias.name)

    def _do_importfrom(self, node: ast.ImportFrom, place: _Place) -> None:
        module = self._module(node.module or "")
        for alias in node.names:
            name = alias.asname or alias.name
            if isinstance(module, _Solution):
                if alias.name != "*":
                    place.names[name] = Candidate(alias.name)
            elif alias.name in module.content:
                place.names[name] = module.content[alias.name]
            elif node.module not in _SUITE_ONLY:
                raise Beyond(f"{alias.name} of {node.module}")

    def _module(self, name: str) -> Any:
        if name == "solution":
            return _Solution()
        if name == "random":
            return Module(random_functions(self.tests))
        if name in _SUITE_ONLY:
            return Module({})
        if name not in MODULES:
            raise Beyond(f"they import {name}")
        return Module(MODULES[name])

    def _do_functiondef(self, node: ast.FunctionDef, place: _Place) -> None:
        if node.decorator_list:
            raise Beyond(f"{node.name} is decorated")
        place.names[node.name] = node

    def _do_classdef(self, node: ast.ClassDef, place: _Place) -> None:
        if node.decorator_list or node.keywords or (node.bases and not is_unittest(node)):
            raise Beyond(f"the class {node.name}")
        place.names[node.name] = node

    def _do_assign(self, node: ast.Assign, place: _Place) -> None:
        value = self._assigned(node.value, place)
        for target in node.targets:
            if isinstance(value, Pending) and not isinstance(target, ast.Name):
                raise Beyond("an answer is unpacked")
            place.names.update(guarded(lambda target=target: bound(target, value)))

    def _do_annassign(self, node: ast.AnnAssign, place: _Place) -> None:
        if node.value is not None:
            place.names.update(bound(node.target, self._assigned(node.value, place)))

    def _do_augassign(self, node: ast.AugAssign, place: _Place) -> None:
        target = node.target
        if not isinstance(target, ast.Name):
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        if type(place.names.get(target.id)) not in _SCALARS:
            raise Beyond("a value is changed in place")
        sum_ = ast.BinOp(ast.Name(target.id, ast.Load()), node.op, node.value)
        place.names[target.id] = self._known(sum_, place)

    def _assigned(self, node: ast.expr, place: _Place) -> Any:
        known = self._special(node, place)
        if known is not None:
            return known
        expression = self._recorded(node, place)
        names = self._needed(expression, place)
        if not _needs_answers(names):
            return self._known(node, place)
        self._expect("evaluates", expression, names, place.at(node, node))
        return Pending(expression, names)

    def _do_assert(self, node: ast.Assert, place: _Place) -> None:
        self._assertion(node.test, place, place.at(node, node.test), node.msg)

    def _assertion(
        self,
        test: ast.expr,
        place: _Place,
        stack: tuple[Frame, ...],
        message: ast.expr | None = None,
    ) -> None:
        expression = self._recorded(test, place)
        names = self._needed(expression, place)
        if _needs_answers(names):
            self._expect("holds", expression, names, stack, message=message)
        elif not self._known(test, place):
            raise Beyond("an assertion fails whatever the candidate does")

    def _do_for(self, node: ast.For, place: _Place) -> None:
        if node.orelse:
            raise Beyond("a loop with else")
        items = list(guarded(lambda: iter(self._known(node.iter, place))))
        if len(items) > _MOST_ROUNDS:
            raise Beyond("a long loop")
        for item in items:
            place.names.update(guarded(lambda item=item: bound(node.target, item)))
            self._block(node.body, place)

    def _do_if(self, node: ast.If, place: _Place) -> None:
        if "__name__" in ast.unparse(node.test):
            return  # the name of the tests is never `__main__` here
        self._block(node.body if self._known(node.test, place) else node.orelse, place)

    def _do_with(self, node: ast.With, place: _Place) -> None:
        [item, *more] = node.items
        call = item.context_expr
        if more or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        if call.func.attr == "subTest" and self._is_self(call.func.value, place):
            return self._block(node.body, place)
        if call.func.attr not in ("raises", "assertRaises") or item.optional_vars is not None:
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        if len(call.args) != 1 or call.keywords:
            raise Beyond("an expected exception with more than its type")
        self._raises(node.body, exceptions(call.args[0]), place)
        return None

    def _do_try(self, node: ast.Try, place: _Place) -> None:
        """`try: f(x)` / `except E: pass` / `else: raise AssertionError`."""
        if len(node.handlers) != 1 or node.finalbody or node.handlers[0].type is None:
            raise Beyond("a `try` that is no expectation")
        [handler] = node.handlers
        assert handler.type is not None
        expected, body, fails = exceptions(handler.type), list(node.body), node.orelse
        if not fails and len(body) == 2:
            fails, body = body[1:], body[:1]
            if {"AssertionError", "Exception", "BaseException"} & set(expected):
                raise Beyond("a `try` that catches its own failure")
        inert = all(isinstance(part, ast.Pass) for part in handler.body)
        if not inert or len(fails) != 1 or not is_failure(fails[0]):
            raise Beyond("a `try` that is no expectation")
        self._raises(body, expected, place)

    def _raises(self, body: Sequence[ast.stmt], expected: tuple[str, ...], place: _Place) -> None:
        if len(body) != 1 or not isinstance(body[0], ast.Expr | ast.Assign):
            raise Beyond("more than one call that is expected to raise")
        self._expected_to_raise(body[0].value, expected, place)

    def _expected_to_raise(self, node: ast.expr, expected: tuple[str, ...], place: _Place) -> None:
        expression = self._recorded(node, place)
        names = self._needed(expression, place)
        if not _needs_answers(names):
            raise Beyond("an exception that is not the candidate's")
        self._expect("raises", expression, names, place.at(node, node), raises=expected)

    def _do_expr(self, node: ast.Expr, place: _Place) -> None:
        value = node.value
        if isinstance(value, ast.Constant | ast.Name):
            return
        if isinstance(value, ast.Call):
            function = place.names.get(value.func.id) if isinstance(value.func, ast.Name) else None
            if isinstance(function, ast.FunctionDef):
                arguments = [self._argument(argument, place) for argument in value.args]
                if value.keywords:
                    raise Beyond("a test function with keywords")
                inner = _Place(place.names, place.at(node), place.where)
                return self._call_function(function, arguments, inner)
            if isinstance(value.func, ast.Attribute) and self._is_self(value.func.value, place):
                return self._unittest_call(value, place)
        raise Beyond(f"`{ast.unparse(node)}` is called for its effect"[:120])

    def _is_self(self, node: ast.expr, place: _Place) -> bool:
        return isinstance(node, ast.Name) and isinstance(place.names.get(node.id), _Self)

    def _unittest_call(self, node: ast.Call, place: _Place) -> None:
        assert isinstance(node.func, ast.Attribute)
        if node.func.attr == "assertRaises" and len(node.args) >= 2:
            expected, function, *arguments = node.args
            call = ast.copy_location(ast.Call(function, arguments, node.keywords), node)
            return self._expected_to_raise(call, exceptions(expected), place)
        test = assertion_of(node)
        if test is None:
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        return self._assertion(test, place, place.at(node, node))

    # --- functions and methods of the tests ------------------------------------------------------

    def _argument(self, node: ast.expr, place: _Place) -> Any:
        special = self._special(node, place)
        return self._known(node, place) if special is None else special

    def _special(self, node: ast.expr, place: _Place) -> Candidate | _Solution | None:
        """What a name stands for, where that is the candidate's."""
        if isinstance(node, ast.Name):
            value = place.names.get(node.id, self._unknown(node.id, place))
            return value if isinstance(value, Candidate | _Solution) else None
        of_name = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if of_name and isinstance(place.names.get(node.value.id), _Solution):  # type: ignore[attr-defined]
            return Candidate(node.attr)  # type: ignore[attr-defined]
        return None

    def _unknown(self, name: str, place: _Place) -> Candidate | None:
        if name in place.names or hasattr(builtins, name) or name.startswith("__"):
            return None
        return Candidate(name)

    def _call_function(
        self, function: Any, arguments: list[Any], place: _Place, where: str = ""
    ) -> None:
        if not isinstance(function, ast.FunctionDef) or len(place.stack) > _DEEPEST:
            raise Beyond("a test that is no plain function")
        signature = function.args
        if signature.vararg or signature.kwarg or signature.kwonlyargs or signature.defaults:
            raise Beyond(f"the parameters of {function.name}")
        parameters = [*signature.posonlyargs, *signature.args]
        if len(parameters) != len(arguments):
            raise Beyond(f"the parameters of {function.name}")
        given = {p.arg: value for p, value in zip(parameters, arguments, strict=True)}
        inner = _Place({**place.names, **given}, place.stack, where or function.name)
        self._block(function.body, inner)

    def _method(self, owner: Any, method: str, place: _Place) -> None:
        if not isinstance(owner, ast.ClassDef):
            raise Beyond("a test class that is none")
        methods = {}
        for part in owner.body:
            if isinstance(part, ast.FunctionDef) and part.name.startswith("test"):
                if part.decorator_list:
                    raise Beyond(f"{part.name} is decorated")
                methods[part.name] = part
            elif not isinstance(part, ast.Pass) and not is_text(part):
                raise Beyond(f"the class {owner.name} holds more than tests")
        self._call_function(methods[method], [_Self()], place, method)

    # --- expressions -----------------------------------------------------------------------------

    def _use(self, value: Any) -> Any:
        if isinstance(value, Answer | Pending):
            raise Beyond("something depends on an answer")
        if isinstance(value, Candidate | _Solution | _Self | ast.AST):
            raise Beyond("a function is used as a value")
        if any(id(part) in self.passed_in for part in mutable_parts(value)):
            raise Beyond("a value that the candidate was given is used again")
        return value

    def _known(self, node: ast.expr, place: _Place) -> Any:
        """The value of an expression that needs no answer."""
        return guarded(lambda: Evaluator(place.names, self._use)(node))

    def _recorded(self, node: ast.expr, place: _Place) -> ast.expr:
        """`node` with the candidate's calls replaced by names that stand for their answers."""
        return _Recorder(self, place).visit(copy.deepcopy(node))  # type: ignore[no-any-return]

    def record_call(self, node: ast.Call, function: str, place: _Place) -> ast.Name:
        evaluator = Evaluator(place.names, self._use)
        args, kwargs = guarded(lambda: evaluator.arguments(node))
        for value in (*args, *kwargs.values()):
            for part in mutable_parts(value):
                self.passed_in[id(part)] = part
        if looks_like_class(function):
            raise Beyond(f"the class {function}")
        if len(self.calls) >= _MOST_CALLS:
            raise Beyond(f"they make more than {_MOST_CALLS} calls")
        self.calls.append(Call(function, copy.deepcopy(args), copy.deepcopy(kwargs)))
        name = f"<answer {len(self.calls) - 1}>"
        place.names[name] = Answer(len(self.calls) - 1)
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def _needed(self, expression: ast.expr, place: _Place) -> Names:
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

    def _expect(
        self,
        kind: Any,
        expression: ast.expr,
        names: Names,
        stack: tuple[Frame, ...],
        *,
        raises: tuple[str, ...] = (),
        message: ast.expr | None = None,
    ) -> None:
        fresh = tuple(range(self.counted, len(self.calls)))
        self.counted = len(self.calls)
        self.expectations.append(
            Expectation(kind, expression, names, stack, fresh, raises, message)
        )


class _Recorder(ast.NodeTransformer):
    def __init__(self, compiler: _Compiler, place: _Place) -> None:
        self._compiler = compiler
        self._place = place
        self._inner = 0

    def visit(self, node: ast.AST) -> Any:
        inner = isinstance(node, _COMPREHENSIONS)
        self._inner += inner
        result = super().visit(node)
        self._inner -= inner
        return result

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = self._compiler._special(node.func, self._place)
        if not isinstance(function, Candidate):
            return self.generic_visit(node)
        if self._inner:
            raise Beyond("the candidate is called in a comprehension")
        return self._compiler.record_call(node, function.function, self._place)


def _needs_answers(names: Names) -> bool:
    return any(isinstance(value, Answer | Pending) for value in names.values())
