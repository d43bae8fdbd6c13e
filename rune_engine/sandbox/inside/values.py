"""Plain values as bytes, for crossing between a process that is trusted and one that is not.

A length, a newline, and JSON in which every value is a list that begins with its tag. Only exact
built-in types cross (`type(x) is`); anything else becomes `Opaque`, of which nothing but a type's
name is known and which equals nothing. `decode` believes nothing: it refuses unknown tags, objects,
numbers in another spelling, and what is deeper or larger than `encode` may make.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

MOST_BYTES = 768 * 1024
MOST_ITEMS = 50_000
MOST_KEYS = 4_000
"""Of one set or dict: integers that collide make building one quadratic."""
DEEPEST = 50
MOST_BITS = 100_000
_LONGEST_NAME = 100


class Opaque:
    """A value that did not cross: all that is known is what its type calls itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError(f"{self!r} is not a plain value and cannot be compared")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bool__ = __len__ = __iter__ = __contains__ = __call__ = _refuse
    __hash__ = object.__hash__


class NotAValue(Exception):
    """These bytes are not what `encode` makes."""


class _TooMuch(Exception):
    pass


class _Encoder:
    def __init__(self) -> None:
        self._items = 0

    def tree(self, value: Any, depth: int) -> list[Any]:
        self._items += 1
        if depth > DEEPEST or self._items > MOST_ITEMS:
            raise _TooMuch
        kind = type(value)
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return scalar(value)
        if kind is dict:
            return [
                "d",
                [[self.tree(k, depth + 1), self.tree(v, depth + 1)] for k, v in value.items()],
            ]
        tag = _CONTAINERS.get(kind)
        if tag is not None:
            return [tag, [self.tree(item, depth + 1) for item in value]]
        return ["o", _name(kind)]


def _name(kind: type) -> str:
    name = type.__dict__["__name__"].__get__(kind)
    return name[:_LONGEST_NAME] if type(name) is str else "?"


def _int(value: Any) -> list[Any]:
    if value.bit_length() > MOST_BITS:
        raise _TooMuch
    return ["i", format(value, "x")]


def _str(value: Any) -> list[Any]:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # JSON would join two surrogates to one character
        return ["u", value.encode("utf-8", "surrogatepass").hex()]
    return ["s", value]


_SCALARS: dict[type, Callable[[Any], list[Any]]] = {
    type(None): lambda value: ["n"],
    bool: lambda value: ["b", value],
    int: _int,
    float: lambda value: ["f", value.hex()],
    complex: lambda value: ["c", value.real.hex(), value.imag.hex()],
    str: _str,
    bytes: lambda value: ["y", value.hex()],
    range: lambda value: ["r", _int(value.start), _int(value.stop), _int(value.step)],
}
_CONTAINERS: dict[type, str] = {tuple: "t", list: "l", set: "S", frozenset: "F"}


def encode(value: object) -> bytes:
    """`value` for crossing; as `Opaque` where it is larger or deeper than what may cross."""
    try:
        body = json.dumps(_Encoder().tree(value, 0), separators=(",", ":")).encode("ascii")
        if len(body) > MOST_BYTES:
            raise _TooMuch
    except (_TooMuch, RecursionError, RuntimeError):  # circular, or changing under our hands
        name = _name(type(value)) + ", too large or too deep to be compared"
        body = json.dumps(["o", name], separators=(",", ":")).encode("ascii")
    return b"%d\n%s" % (len(body), body)


def _refuse(*_: object) -> NoReturn:
    raise NotAValue("not a value")


_JSON = json.JSONDecoder(
    object_pairs_hook=_refuse, parse_float=_refuse, parse_int=_refuse, parse_constant=_refuse
)


def decode(data: bytes) -> Any:
    """The value that `encode` made `data` of.

    Raises:
        NotAValue: it did not.
    """
    length, newline, body = data.partition(b"\n")
    if not newline or not length.isdigit() or len(length) > 7 or int(length) != len(body):
        raise NotAValue("the length is wrong")
    if len(body) > MOST_BYTES:
        raise NotAValue("it is too long")
    try:
        tree, end = _JSON.raw_decode(body.decode("ascii"))
        if end != len(body):
            raise NotAValue("something follows the value")
        return _Decoder().value(tree, 0)
    except (ValueError, TypeError, RecursionError, OverflowError, AssertionError) as error:
        raise NotAValue(f"not a value: {type(error).__name__}") from error


class _Decoder:
    def __init__(self) -> None:
        self._items = 0

    def value(self, tree: Any, depth: int) -> Any:
        self._items += 1
        if depth > DEEPEST or self._items > MOST_ITEMS:
            raise NotAValue("it is too large")
        if not isinstance(tree, list) or not tree or not isinstance(tree[0], str):
            raise NotAValue("it has no tag")
        tag, *parts = tree
        if tag in _ITEMS:
            [items] = parts
            return _ITEMS[tag]([self.value(item, depth + 1) for item in _listed(items, tag)])
        if tag == "d":
            [pairs] = parts
            return self._dict(_listed(pairs, tag), depth)
        if tag not in _FROM_PARTS:
            raise NotAValue("its tag is unknown")
        return _FROM_PARTS[tag](*parts)

    def _dict(self, pairs: list[Any], depth: int) -> dict[Any, Any]:
        result = {}
        for key, item in pairs:
            result[self.value(key, depth + 1)] = self.value(item, depth + 1)
        if len(result) != len(pairs):
            raise NotAValue("a key is there twice")
        return result


def _listed(items: Any, tag: str) -> list[Any]:
    if not isinstance(items, list) or (tag in "SFd" and len(items) > MOST_KEYS):
        raise NotAValue("it is too large")
    return items


def _set(items: list[Any]) -> set[Any]:
    result = set(items)
    if len(result) != len(items):
        raise NotAValue("a member is there twice")
    return result


def _to_int(text: Any) -> int:
    value = int(_text(text), 16)
    if format(value, "x") != text or value.bit_length() > MOST_BITS:
        raise NotAValue("not an integer's spelling")
    return value


def _to_float(text: Any) -> float:
    value = float.fromhex(_text(text))
    if value.hex() != text:
        raise NotAValue("not a number's spelling")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise NotAValue("not a text")
    return value


def _to_bool(value: Any) -> bool:
    if value is not True and value is not False:
        raise NotAValue("not a bool")
    return bool(value)


def _surrogates(text: Any) -> str:
    return bytes.fromhex(_text(text)).decode("utf-8", "surrogatepass")


def _to_range(*parts: Any) -> range:
    start, stop, step = (_to_int(part[1]) for part in parts)
    return range(start, stop, step)


_ITEMS: dict[str, Callable[[list[Any]], Any]] = {
    "t": tuple,
    "l": list,
    "S": _set,
    "F": lambda items: frozenset(_set(items)),
}
_FROM_PARTS: dict[str, Callable[..., Any]] = {
    "n": lambda: None,
    "b": _to_bool,
    "i": _to_int,
    "f": _to_float,
    "c": lambda real, imaginary: complex(_to_float(real), _to_float(imaginary)),
    "s": _text,
    "u": _surrogates,
    "y": lambda text: bytes.fromhex(_text(text)),
    "r": _to_range,
    "o": lambda name: Opaque(_text(name)[: 2 * _LONGEST_NAME]),
}


def same(left: Any, right: Any) -> bool:
    """Python's `==` for plain values, except that a bool equals only a bool, and nothing is equal
    to an `Opaque`. An int equals a float of the same value, as tests that were written with `==`
    expect; a list never equals a tuple, as in Python."""
    kinds = type(left), type(right)
    if Opaque in kinds or (bool in kinds and kinds[0] is not kinds[1]):
        return False
    if kinds[0] in _NUMBERS and kinds[1] in _NUMBERS:
        return bool(left == right)
    if kinds[0] in _SETS and kinds[1] in _SETS:
        return _same_members(left, right)
    if kinds[0] is not kinds[1]:
        return False
    if kinds[0] is list or kinds[0] is tuple:
        pairs = zip(left, right, strict=False)
        return len(left) == len(right) and all(_same_item(a, b) for a, b in pairs)
    if kinds[0] is dict:
        return _same_members(left.keys(), right.keys()) and all(
            _same_item(item, right[key]) for key, item in left.items()
        )
    return bool(left == right)


def _same_item(left: Any, right: Any) -> bool:
    return left is right or same(left, right)


def _same_members(left: Any, right: Any) -> bool:
    """Equal as sets, and no bool of one stands for a number of the other."""
    if set(left) != set(right):
        return False
    return _kinds(left) == _kinds(right)


def _kinds(members: Any) -> dict[Any, bool]:
    return {member: type(member) is bool for member in members}


_NUMBERS = (int, float, complex)
_SETS = (set, frozenset)


def shown(value: object, longest: int = 200) -> str:
    """`repr`, cut; whole numbers of thousands of digits in hexadecimal."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = hex(value) if type(value) is int else f"<a large {type(value).__name__}>"
    return text if len(text) <= longest else f"{text[: longest // 2]}...{text[-longest // 2 :]}"
