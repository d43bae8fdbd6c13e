"""What the evaluator of expressions.py may do: operators, functions, methods, modules.

Everything is bounded, and nothing looks up an attribute by a name of the test's.
"""

from __future__ import annotations

import ast
import math
import operator
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rune_engine.sandbox.inside.values import same

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


def bounded(value: Any) -> Any:
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


BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
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
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
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


COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
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
    return bounded(range(*bounds))  # type: ignore[no-any-return]


def type_of(value: object) -> type:
    return type(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (len, sorted, sum, min, max, abs, round, repr, all, any)},
    **{f.__name__: f for f in (divmod, chr, ord, bin, hex, oct, hash)},
    "range": _range,
    "type": type_of,
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
METHODS: dict[type, frozenset[str]] = {
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


@dataclass(frozen=True)
class Module:
    """A module that tests may import, as far as its content is harmless."""

    content: dict[str, Any]
