"""Evaluates the simple expressions that tests consist of, in the engine, without running them.

A whitelist of syntax over plain values; what it may do with them is operations.py. Steps, sizes and
numbers are bounded. What is not on the list raises `Beyond`; the tests then run inside. `==` is
`values.same`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from rune_engine.sandbox.inside.values import Opaque
from rune_engine.sandbox.operations import (
    BINARY,
    COMPARISONS,
    FUNCTIONS,
    METHODS,
    TYPES,
    UNARY,
    Beyond,
    Module,
    Unusable,
    bounded,
    type_of,
)

_MOST_STEPS = 200_000


def _handler(node: ast.AST) -> str:
    return f"_{type(node).__name__.lower()}"


class Evaluator:
    """Evaluates expressions over `names`; `use` sees every value that a name gives."""

    def __init__(
        self, names: Mapping[str, Any], use: Callable[[Any], Any] = lambda value: value
    ) -> None:
        self._names = names
        self._use = use
        self._steps = 0

    def __call__(self, node: ast.expr) -> Any:
        """The value of `node`.

        Raises:
            Beyond: it is not simple enough.
            Exception: what Python would raise.
        """
        return self._value(node)

    def _value(self, node: ast.AST) -> Any:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise Beyond("too long a computation")
        method = getattr(self, _handler(node), None)
        if method is None:
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        return bounded(method(node))

    def _usable(self, node: ast.AST) -> Any:
        value = self._value(node)
        if isinstance(value, Opaque):
            raise Unusable(repr(value))
        return value

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        for names in (self._names, TYPES, FUNCTIONS):
            if node.id in names:
                return self._use(names[node.id])
        raise Beyond(f"the name {node.id}")

    def _items(self, nodes: Iterable[ast.expr]) -> Iterator[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from self._usable(node.value)
            else:
                yield self._value(node)

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._items(node.elts))

    def _list(self, node: ast.List) -> Any:
        return list(self._items(node.elts))

    def _set(self, node: ast.Set) -> Any:
        return set(self._items(node.elts))

    def _dict(self, node: ast.Dict) -> Any:
        result: dict[Any, Any] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            if key is None:
                result.update(self._usable(item))
            else:
                result[self._value(key)] = self._value(item)
        return result

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        return UNARY[type(node.op)](self._usable(node.operand))

    def _binop(self, node: ast.BinOp) -> Any:
        apply = BINARY.get(type(node.op))
        if apply is None:
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        return apply(self._usable(node.left), self._usable(node.right))

    def _boolop(self, node: ast.BoolOp) -> Any:
        value: Any = None
        for operand in node.values:
            value = self._usable(operand)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def _compare(self, node: ast.Compare) -> bool:
        left = self._value(node.left)
        for sign, operand in zip(node.ops, node.comparators, strict=True):
            right = self._value(operand)
            if isinstance(sign, ast.NotEq | ast.NotIn) and Opaque in (type(left), type(right)):
                raise Unusable(repr(left if type(left) is Opaque else right))
            if not COMPARISONS[type(sign)](left, right):
                return False
            left = right
        return True

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self._value(node.body if self._usable(node.test) else node.orelse)

    def _subscript(self, node: ast.Subscript) -> Any:
        return self._usable(node.value)[self._value(node.slice)]

    def _slice(self, node: ast.Slice) -> slice:
        low, high, step = (n and self._value(n) for n in (node.lower, node.upper, node.step))
        return slice(low, high, step)

    def _listcomp(self, node: ast.ListComp) -> Any:
        return [inner(node.elt) for inner in self._rounds(node.generators)]

    _generatorexp = _listcomp

    def _setcomp(self, node: ast.SetComp) -> Any:
        return {inner(node.elt) for inner in self._rounds(node.generators)}

    def _dictcomp(self, node: ast.DictComp) -> Any:
        return {inner(node.key): inner(node.value) for inner in self._rounds(node.generators)}

    def _rounds(self, generators: list[ast.comprehension]) -> Iterator[Evaluator]:
        if not generators:
            yield self
            return
        first, *rest = generators
        if first.is_async:
            raise Beyond("an asynchronous comprehension")
        for item in self._usable(first.iter):
            self._steps += 1
            inner = Evaluator({**self._names, **bound(first.target, item)}, self._use)
            inner._steps = self._steps
            if all(inner._usable(condition) for condition in first.ifs):
                yield from inner._rounds(rest)
            self._steps = inner._steps
            if self._steps > _MOST_STEPS:
                raise Beyond("too long a computation")

    def _attribute(self, node: ast.Attribute) -> Any:
        owner = self._value(node.value)
        if isinstance(owner, Module) and node.attr in owner.content:
            return owner.content[node.attr]
        raise Beyond(f"`{ast.unparse(node)}`"[:100])

    def _call(self, node: ast.Call) -> Any:
        function = self._method(node.func) or self._value(node.func)
        if not (isinstance(function, type) or callable(function)):
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        arguments, named = self.arguments(node)
        opaque = any(isinstance(value, Opaque) for value in (*arguments, *named.values()))
        if opaque and function not in (type_of, isinstance):
            raise Unusable("an object that cannot leave its process")
        if any(callable(value) for value in named.values()):
            raise Beyond("a function as an argument")
        return function(*arguments, **named)

    def arguments(self, node: ast.Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise Beyond("a call with **")
            named[keyword.arg] = self._value(keyword.value)
        return tuple(self._items(node.args)), named

    def _method(self, node: ast.expr) -> Callable[..., Any] | None:
        if not isinstance(node, ast.Attribute):
            return None
        owner = self._usable(node.value)
        if node.attr not in METHODS.get(type(owner), ()):
            return None
        found = getattr(owner, node.attr)
        if node.attr in ("items", "keys", "values"):
            return lambda: list(found())
        return found  # type: ignore[no-any-return]


def bound(target: ast.expr, value: Any) -> dict[str, Any]:
    """The names that assigning `value` to `target` sets."""
    if isinstance(target, ast.Name):
        return {target.id: value}
    if isinstance(target, ast.Tuple | ast.List):
        items = list(value)
        if len(items) != len(target.elts):
            raise ValueError("a wrong number of values to unpack")
        return {
            name: item
            for part, each in zip(target.elts, items, strict=True)
            for name, item in bound(part, each).items()
        }
    raise Beyond(f"assigning to `{ast.unparse(target)}`"[:100])


def check_admissible(expression: ast.expr, names: Mapping[str, Any]) -> None:
    """Whether an `Evaluator` can evaluate all of `expression`, whatever its names stand for.

    Raises:
        Beyond: it cannot.
    """
    methods = frozenset[str]().union(*METHODS.values())
    for node in ast.walk(expression):
        known = isinstance(node, ast.Starred) or hasattr(Evaluator, _handler(node))
        if isinstance(node, ast.expr) and not known:
            raise Beyond(f"`{ast.unparse(node)}`"[:100])
        if isinstance(node, ast.Attribute) and node.attr not in methods:
            owner = names.get(node.value.id) if isinstance(node.value, ast.Name) else None
            if not isinstance(owner, Module) or node.attr not in owner.content:
                raise Beyond(f"`{ast.unparse(node)}`"[:100])
        if isinstance(node, ast.Compare):
            _check_identity(node)


def _check_identity(node: ast.Compare) -> None:
    operands = [node.left, *node.comparators]
    for sign, pair in zip(node.ops, pairwise(operands), strict=True):
        if isinstance(sign, ast.Is | ast.IsNot) and not any(_is_singular(part) for part in pair):
            raise Beyond("`is` between values")


def _is_singular(node: ast.expr) -> bool:
    """None, True, False, or a type."""
    if isinstance(node, ast.Constant):
        return node.value is None or isinstance(node.value, bool)
    if isinstance(node, ast.Name):
        return node.id in TYPES
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type"
