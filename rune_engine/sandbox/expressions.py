"""Evaluates the simple expressions that tests consist of, in the engine, without running them.

A whitelist of syntax over plain values: literals, operators, a few built-in functions and methods.
No attribute of an object is ever looked up by a name of the test's, nothing is imported, and steps,
sizes and numbers are bounded. What is not on the list raises `Beyond`; the tests then run inside.
`==` is `values.same`.
"""

from __future__ import annotations

import ast
import math
import operator
import random
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rune_engine.sandbox.inside.values import Opaque, same

_MOST_STEPS = 200_000
_MOST_ITEMS = 100_000
_MOST_BITS = 100_000
_SIZED = (str, bytes, list, tuple, set, frozenset, dict, range)
_MATH = (
    "pi e inf nan tau fabs isclose sqrt floor ceil isnan isinf isfinite log log2 log10 exp sin cos "
    "gcd pow"
)
_TEXT = (
    "split strip lstrip rstrip lower upper title capitalize swapcase startswith endswith count "
    "find index isdigit isalpha isupper islower isalnum isspace splitlines join encode"
)


class Beyond(Exception):
    """This expression can do more than this evaluator does; it says what."""


class Unusable(Exception):
    """A value that did not cross (`Opaque`) was to be used."""


@dataclass(frozen=True)
class Approximately:
    """`pytest.approx`: compared within a tolerance."""

    expected: Any
    relative: float | None = None
    absolute: float | None = None

    def holds(self, value: Any) -> bool:
        expected = self.expected
        if isinstance(expected, list | tuple):
            if type(value) is not type(expected) or len(value) != len(expected):
                return False
            return all(self._one(e, v) for e, v in zip(expected, value, strict=True))
        if isinstance(expected, dict):
            if type(value) is not dict or not same(set(value), set(expected)):
                return False
            return all(self._one(item, value[key]) for key, item in expected.items())
        return self._one(expected, value)

    def _one(self, expected: Any, value: Any) -> bool:
        if type(value) not in (int, float) or type(expected) not in (int, float):
            return same(expected, value)
        if math.isinf(expected) or math.isinf(value):
            return same(expected, value)
        absolute = 1e-12 if self.absolute is None else self.absolute
        relative = 1e-6 if self.relative is None else self.relative
        if self.relative is None and self.absolute is not None:
            relative = 0.0
        return bool(abs(expected - value) <= max(absolute, relative * abs(expected)))


def equal(left: object, right: object) -> bool:
    if isinstance(left, Approximately):
        return left.holds(right)
    if isinstance(right, Approximately):
        return right.holds(left)
    return same(left, right)


def _bounded(value: Any) -> Any:
    if type(value) is int and value.bit_length() > _MOST_BITS:
        raise Beyond("a huge number")
    if isinstance(value, _SIZED) and len(value) > _MOST_ITEMS:
        raise Beyond("a huge value")
    return value


def _times(left: Any, right: Any) -> Any:
    for many, times in ((left, right), (right, left)):
        if hasattr(many, "__len__") and isinstance(times, int) and len(many) * times > _MOST_ITEMS:
            raise Beyond("a huge value")
    return left * right


def _power(left: Any, right: Any) -> Any:
    whole = isinstance(left, int) and isinstance(right, int) and right > 0
    if whole and left.bit_length() * right > _MOST_BITS:
        raise Beyond("a huge number")
    return left**right


def _shifted(left: Any, right: Any) -> Any:
    if isinstance(right, int) and right > _MOST_BITS:
        raise Beyond("a huge number")
    return left << right


def _formatted(left: Any, right: Any) -> Any:
    if isinstance(left, str | bytes):
        raise Beyond("formatting with %")
    return left % right


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _times,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _formatted,
    ast.Pow: _power,
    ast.LShift: _shifted,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}


def _within(member: Any, container: Any) -> bool:
    if isinstance(container, str | bytes | range):
        return member in container
    return any(equal(item, member) for item in container)


def _identical(left: object, right: object) -> bool:
    singletons = (None, True, False)
    if not any(left is one or right is one for one in singletons) and not (
        isinstance(left, type) and isinstance(right, type)
    ):
        raise Beyond("`is` between values")
    return left is right


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: equal,
    ast.NotEq: lambda left, right: not equal(left, right),
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: _within,
    ast.NotIn: lambda left, right: not _within(left, right),
    ast.Is: _identical,
    ast.IsNot: lambda left, right: not _identical(left, right),
}


def _range(*bounds: int) -> range:
    return _bounded(range(*bounds))  # type: ignore[no-any-return]


def _type_of(value: object) -> type:
    return type(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (len, sorted, sum, min, max, abs, round, repr, all, any)},
    **{f.__name__: f for f in (divmod, chr, ord, bin, hex, oct, hash)},
    "range": _range,
    "type": _type_of,
    "isinstance": isinstance,
    "zip": lambda *many, strict=False: list(zip(*many, strict=strict)),
    "enumerate": lambda many, start=0: list(enumerate(many, start)),
    "reversed": lambda many: list(reversed(many)),
}
del FUNCTIONS["hash"]  # of a text it differs from run to run
TYPES: dict[str, type] = {
    t.__name__: t
    for t in (bool, int, float, complex, str, bytes, tuple, list, set, frozenset, dict)
}
MODULES: dict[str, dict[str, Any]] = {
    "math": {name: getattr(math, name) for name in _MATH.split()},
    "string": {
        name: getattr(string, name)
        for name in ("ascii_lowercase", "ascii_uppercase", "ascii_letters", "digits")
    },
    "copy": {"deepcopy": lambda value: value, "copy": lambda value: value},
    "random": {},
    "pytest": {
        "approx": lambda expected, rel=None, abs=None: Approximately(expected, rel, abs),
    },
}
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT.split()),
    bytes: frozenset({"decode", "hex"}),
    list: frozenset({"count", "index", "copy"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values", "copy"}),
    set: frozenset({"union", "intersection", "difference", "issubset", "issuperset", "copy"}),
    frozenset: frozenset({"union", "intersection", "difference", "issubset", "issuperset"}),
}


def random_functions(seed: str) -> dict[str, Any]:
    """`random`'s functions with a seed of our own: tests that draw are right for any draw."""
    source = random.Random(seed)
    return {
        name: getattr(source, name) for name in ("randint", "random", "uniform", "choice", "sample")
    }


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
        return _bounded(method(node))

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
        return _UNARY[type(node.op)](self._usable(node.operand))

    def _binop(self, node: ast.BinOp) -> Any:
        apply = _BINARY.get(type(node.op))
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
            if not _COMPARISONS[type(sign)](left, right):
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
        if opaque and function not in (_type_of, isinstance):
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
        if node.attr not in _METHODS.get(type(owner), ()):
            return None
        found = getattr(owner, node.attr)
        if node.attr in ("items", "keys", "values"):
            return lambda: list(found())
        return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Module:
    """A module that tests may import, as far as its content is harmless."""

    content: dict[str, Any]


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
    methods = frozenset[str]().union(*_METHODS.values())
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
