"""A JSON text as a tree that knows where everything stands; comments and trailing commas allowed.

Knows nothing of how a text is changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_TRIVIA = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = re.compile(r"-?\d[\d.eE+-]*|true|false|null")
_DEEPEST = 100


class JsoncError(ValueError):
    """The text is no JSON, or not of the shape that a change needs; says where."""


@dataclass
class Item:
    """A member of an object, or an element of an array."""

    start: int  # of the key, or of the value in an array
    value: Node
    comma: int | None = None


@dataclass
class Node:
    """A value; `end` is one past its last character."""

    start: int
    end: int
    plain: Any = None  # a scalar's value
    members: dict[str, Item] | None = None  # an object's
    items: list[Item] = field(default_factory=list)  # an array's, or an object's in order

    @property
    def is_array(self) -> bool:
        return self.members is None and self.plain is _ARRAY

    def data(self) -> Any:
        """The value itself."""
        if self.members is not None:
            return {key: item.value.data() for key, item in self.members.items()}
        return [item.value.data() for item in self.items] if self.is_array else self.plain


_ARRAY = object()


def parse(text: str) -> Node:
    """The tree of a whole text.

    Raises:
        JsoncError: it is no JSON, or deeper than anybody's configuration.
    """
    parser = _Parser(text)
    node = parser.value(after_trivia(text, 0), 0)
    if (end := after_trivia(text, node.end)) != len(text):
        raise _wrong(text, end)
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, at: int, depth: int) -> Node:
        text = self._text
        if depth > _DEEPEST:
            raise JsoncError(f"It is nested more than {_DEEPEST} levels deep.")
        if text.startswith("{", at):
            return self._object(at, depth)
        if text.startswith("[", at):
            return self._array(at, depth)
        found = _STRING.match(text, at) or _SCALAR.match(text, at)
        if found is None:
            raise _wrong(text, at)
        try:
            return Node(at, found.end(), json.loads(found.group()))
        except ValueError as error:
            raise _wrong(text, at) from error

    def _object(self, at: int, depth: int) -> Node:
        node = Node(at, at, members={})
        members: dict[str, Item] = {}
        position = after_trivia(self._text, at + 1)
        while not self._text.startswith("}", position):
            key = _STRING.match(self._text, position)
            colon = after_trivia(self._text, key.end() if key else position)
            if key is None or not self._text.startswith(":", colon):
                raise _wrong(self._text, colon)
            value = self.value(after_trivia(self._text, colon + 1), depth + 1)
            item = Item(position, value)
            node.items.append(item)
            members[self._key(key)] = item
            position = self._next(item, "}")
        node.members, node.end = members, position + 1
        return node

    def _key(self, found: re.Match[str]) -> str:
        try:
            return str(json.loads(found.group()))
        except ValueError as error:
            raise _wrong(self._text, found.start()) from error

    def _array(self, at: int, depth: int) -> Node:
        node = Node(at, at, _ARRAY)
        position = after_trivia(self._text, at + 1)
        while not self._text.startswith("]", position):
            item = Item(position, self.value(position, depth + 1))
            node.items.append(item)
            position = self._next(item, "]")
        node.end = position + 1
        return node

    def _next(self, item: Item, closing: str) -> int:
        """Where the next item, or the closing bracket, begins."""
        position = after_trivia(self._text, item.value.end)
        if self._text.startswith(",", position):
            item.comma = position
            return after_trivia(self._text, position + 1)
        if not self._text.startswith(closing, position):
            raise _wrong(self._text, position)
        return position


def after_trivia(text: str, at: int) -> int:
    """Where what follows white space and comments begins."""
    found = _TRIVIA.match(text, at)
    return found.end() if found else at


def _wrong(text: str, at: int) -> JsoncError:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    what = f"{text[at]!r} was not expected" if at < len(text) else "it ends too early"
    return JsoncError(f"{what[0].upper()}{what[1:]}, line {line}, column {column}.")
