"""Turns a test suite into `Cases` by walking its syntax tree: nothing of it is run.

Understood are asserts, `check(candidate)`, loops over literals, test functions, `unittest` and
`pytest.raises`, over what expressions.py can evaluate. A suite is compiled whole or not at all.
Where a compiled suite could mean something else than the suite itself (a value that was passed to
the candidate is used again, a call for its effect) it is left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rune_engine.sandbox.cases import Cases, Frame, Pending
from rune_engine.sandbox.expressions import bound
from rune_engine.sandbox.ledger import Candidate, Ledger, OwnCase, Place, Solution, needs_answers
from rune_engine.sandbox.operations import (
    MODULES,
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
)
from rune_engine.sandbox.unittest_syntax import assertion_of

_MOST_ROUNDS = 1000
_DEEPEST = 5
_SCALARS = (type(None), bool, int, float, complex, str, bytes, range)
_SUITE_ONLY = ("typing", "unittest", "__future__")


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
    ledger: Ledger = field(default_factory=Ledger)

    def compile(self, to_call: Sequence[str]) -> Cases:
        place = Place({}, (), "<module>")
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
        if not self.ledger.calls:
            raise Beyond("they call no function of the candidate")
        return Cases(tuple(self.ledger.calls), tuple(self.ledger.expectations))

    # --- statements ------------------------------------------------------------------------------

    def _block(self, body: Sequence[ast.stmt], place: Place) -> None:
        for node in body:
            handler = getattr(self, f"_do_{type(node).__name__.lower()}", None)
            if handler is None:
                raise Beyond(f"`{ast.unparse(node)}`"[:100])
            handler(node, place)

    def _do_pass(self, node: ast.Pass, place: Place) -> None:
        pass

    def _do_import(self, node: ast.Import, place: Place) -> None:
        for alias in node.names:
            place.names[alias.asname or alias.name] = self._module(alias.name)

    def _do_importfrom(self, node: ast.ImportFrom, place: Place) -> None:
        module = self._module(node.module or "")
        for alias in node.names:
            name = alias.asname or alias.name
            if isinstance(module, Solution):
                if alias.name != "*":
                    place.names[name] = Candidate(alias.name)
            elif alias.name in module.content:
                place.names[name] = module.content[alias.name]
            elif node.module not in _SUITE_ONLY:
                raise Beyond(f"{alias.name} of {node.module}")

    def _module(self, name: str) -> Any:
        if name == "solution":
            return Solution()
        if name == "random":
            return Module(random_functions(self.tests))
        if name in _SUITE_ONLY:
            return Module({})
        if name not in MODULES:
            raise Beyond(f"they import {name}")
        return Module(MODULES[name])

    def _do_functiondef(self, node: ast.FunctionDef, place: Place) -> None:
        if node.decorator_list:
            raise Beyond(f"{node.name} is decorated")
        place.names[node.name] = node

    def _do_classdef(self, node: ast.ClassDef, place: Place) -> None:
        if node.decorator_list or node.keywords or (node.bases and not is_unittest(node)):
            raise Beyond(f"the class {node.name}")
        place.names[node.name] = node

    def _do_assign(self, node: ast.Assign, place: Place) -> None:
        value = self._assigned(node.value, place)
        for target in node.targets:
            if isinstance(value, Pending) and not isinstance(target, ast.Name):
                raise Beyond("an answer is unpacked")
            place.names.update(guarded(lambda target=target: bound(target, value)))

    def _do_annassign(self, node: ast.AnnAssign, place: Place) -> None:
        if node.value is not None:
            place.names.update(bound(node.target, self._assigned(node.value, place)))

    def _do_augassign(self, node: ast.AugAssign, place: Place) -> None:
        target = node.target
        if not isinstance(target, ast.Name):
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        if type(place.names.get(target.id)) not in _SCALARS:
            raise Beyond("a value is changed in place")
        sum_ = ast.BinOp(ast.Name(target.id, ast.Load()), node.op, node.value)
        place.names[target.id] = self.ledger.known(sum_, place)

    def _assigned(self, node: ast.expr, place: Place) -> Any:
        known = self.ledger.special(node, place)
        if known is not None:
            return known
        expression = self.ledger.recorded(node, place)
        names = self.ledger.needed(expression, place)
        if not needs_answers(names):
            return self.ledger.known(node, place)
        self.ledger.expect("evaluates", expression, names, place.at(node, node))
        return Pending(expression, names)

    def _do_assert(self, node: ast.Assert, place: Place) -> None:
        self._assertion(node.test, place, place.at(node, node.test), node.msg)

    def _assertion(
        self,
        test: ast.expr,
        place: Place,
        stack: tuple[Frame, ...],
        message: ast.expr | None = None,
    ) -> None:
        expression = self.ledger.recorded(test, place)
        names = self.ledger.needed(expression, place)
        if needs_answers(names):
            self.ledger.expect("holds", expression, names, stack, message=message)
        elif not self.ledger.known(test, place):
            raise Beyond("an assertion fails whatever the candidate does")

    def _do_for(self, node: ast.For, place: Place) -> None:
        if node.orelse:
            raise Beyond("a loop with else")
        items = list(guarded(lambda: iter(self.ledger.known(node.iter, place))))
        if len(items) > _MOST_ROUNDS:
            raise Beyond("a long loop")
        for item in items:
            place.names.update(guarded(lambda item=item: bound(node.target, item)))
            self._block(node.body, place)

    def _do_if(self, node: ast.If, place: Place) -> None:
        if "__name__" in ast.unparse(node.test):
            return  # the name of the tests is never `__main__` here
        self._block(node.body if self.ledger.known(node.test, place) else node.orelse, place)

    def _do_with(self, node: ast.With, place: Place) -> None:
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

    def _do_try(self, node: ast.Try, place: Place) -> None:
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

    def _raises(self, body: Sequence[ast.stmt], expected: tuple[str, ...], place: Place) -> None:
        if len(body) != 1 or not isinstance(body[0], ast.Expr | ast.Assign):
            raise Beyond("more than one call that is expected to raise")
        self._expected_to_raise(body[0].value, expected, place)

    def _expected_to_raise(self, node: ast.expr, expected: tuple[str, ...], place: Place) -> None:
        expression = self.ledger.recorded(node, place)
        names = self.ledger.needed(expression, place)
        if not needs_answers(names):
            raise Beyond("an exception that is not the candidate's")
        self.ledger.expect("raises", expression, names, place.at(node, node), raises=expected)

    def _do_expr(self, node: ast.Expr, place: Place) -> None:
        value = node.value
        if isinstance(value, ast.Constant | ast.Name):
            return
        if isinstance(value, ast.Call):
            function = place.names.get(value.func.id) if isinstance(value.func, ast.Name) else None
            if isinstance(function, ast.FunctionDef):
                arguments = [self._argument(argument, place) for argument in value.args]
                if value.keywords:
                    raise Beyond("a test function with keywords")
                inner = Place(place.names, place.at(node), place.where)
                return self._call_function(function, arguments, inner)
            if isinstance(value.func, ast.Attribute) and self._is_self(value.func.value, place):
                return self._unittest_call(value, place)
        raise Beyond(f"`{ast.unparse(node)}` is called for its effect"[:120])

    def _is_self(self, node: ast.expr, place: Place) -> bool:
        return isinstance(node, ast.Name) and isinstance(place.names.get(node.id), OwnCase)

    def _unittest_call(self, node: ast.Call, place: Place) -> None:
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

    def _argument(self, node: ast.expr, place: Place) -> Any:
        special = self.ledger.special(node, place)
        return self.ledger.known(node, place) if special is None else special

    def _call_function(
        self, function: Any, arguments: list[Any], place: Place, where: str = ""
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
        inner = Place({**place.names, **given}, place.stack, where or function.name)
        self._block(function.body, inner)

    def _method(self, owner: Any, method: str, place: Place) -> None:
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
        self._call_function(methods[method], [OwnCase()], place, method)
