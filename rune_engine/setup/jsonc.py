"""Changes one member of a JSON text and leaves every other character as it was.

Reads JSON with comments and trailing commas, which VS Code and Cursor accept; `require_plain`
tells whether a text has any, as Claude's own programs accept none. Knows nothing of files.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rune_engine.setup.json_tree import Item, JsoncError, Node, parse

_SAME_LINE = re.compile(r"[ \t]*(?://[^\r\n]*|/\*(?:(?!\*/)[^\r\n])*\*/[ \t]*(?=[\r\n]|$))?")

Path = tuple[str | int, ...]


def read(text: str) -> Any:
    """The data of a JSON text; of a key that stands twice the last, as hosts take it.

    Raises:
        JsoncError: it is not JSON.
    """
    try:  # a hundred times as fast, and some hosts keep megabytes
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return parse(text).data()


def require_plain(text: str) -> None:
    """Accept a text only if it is JSON to the letter.

    Raises:
        JsoncError: it has a comment, a trailing comma or another mistake.
    """
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise JsoncError(str(error)) from error


def put(text: str, path: Path, value: Any) -> str:
    """The text with `value` at `path`; what was there is replaced, objects on the way are made.

    A number one past an array's end appends to it.

    Raises:
        JsoncError: the text is no JSON, or something on the way is no object or array.
    """
    root = parse(text)
    node, depth = _deepest(root, path)
    rest = path[depth:]
    style = _Style(text)
    if not rest:
        return text[: node.start] + style.dump(value, node.start) + text[node.end :]
    _require_room(node, rest[0], path[: depth + 1])
    for step in reversed(rest[1:]):
        value = [value] if isinstance(step, int) else {step: value}
    return _insert(text, node, rest[0], value, style)


def drop(text: str, path: Path) -> str:
    """The text without the member or element at `path`; as it was if there is none.

    Raises:
        JsoncError: the text is no JSON.
    """
    root = parse(text)
    node, depth = _deepest(root, path[:-1])
    if depth < len(path) - 1 or _child(node, path[-1]) is None:
        return text
    item = _item(node, path[-1])
    return _cut(text, node, node.items.index(item))


class _Style:
    """How a text is laid out: its line ends and what a level is indented by."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.line_end = "\r\n" if "\r\n" in text else "\n"
        indented = re.search(r"[{\[][ \t]*\r?\n([ \t]+)[^ \t\r\n]", text)
        self._unit = indented.group(1) if indented else "  "

    def indent_at(self, at: int) -> str:
        """The indentation of the line that `at` is in."""
        line = self._text.rfind("\n", 0, at) + 1
        found = re.compile(r"[ \t]*").match(self._text, line, at)
        return found.group() if found else ""

    def inside(self, node: Node) -> str:
        """The indentation of what is in `node`."""
        if node.items and "\n" in self._text[node.start : node.items[-1].start]:
            return self.indent_at(node.items[-1].start)
        return self.indent_at(node.start) + self._unit

    def dump(self, value: Any, at: int) -> str:
        """A value as it would stand in the line of `at`."""
        return self.dump_indented(value, self.indent_at(at))

    def dump_indented(self, value: Any, indent: str) -> str:
        lines = json.dumps(value, indent=self._unit, ensure_ascii=False).split("\n")
        return (self.line_end + indent).join(lines)


def _insert(text: str, node: Node, step: str | int, value: Any, style: _Style) -> str:
    name = "" if isinstance(step, int) else f"{json.dumps(step, ensure_ascii=False)}: "
    body = text[node.start + 1 : node.end - 1]
    if node.items and "\n" not in body:
        last = node.items[-1]
        new = name + json.dumps(value, ensure_ascii=False)
        return text[: last.value.end] + f", {new}" + text[last.value.end :]
    indent = style.inside(node)
    new = style.line_end + indent + name + style.dump_indented(value, indent)
    closing = style.line_end + style.indent_at(node.start)
    if not node.items:
        return text[: node.start + 1] + body.rstrip() + new + closing + text[node.end - 1 :]
    last = node.items[-1]
    if last.comma is not None:  # a trailing comma: the new one gets it, too
        at = _line_end(text, last.comma + 1)
        return text[:at] + new + "," + text[at:]
    at = _line_end(text, last.value.end)
    return text[: last.value.end] + "," + text[last.value.end : at] + new + text[at:]


def _cut(text: str, node: Node, index: int) -> str:
    """The text without the node's item, the comma that goes with it and the space before it."""
    item = node.items[index]
    before = node.items[index - 1] if index else None
    left = before.value.end if before else node.start + 1
    head, end = text[: item.start].rstrip(), item.value.end
    rest = text[end if item.comma is None else item.comma + 1 :]
    in_comment = "//" in head[max(left, head.rfind("\n") + 1) :]
    if item.comma is None and before is not None and before.comma is not None:
        head = head[: before.comma] + head[before.comma + 1 :]
    if before is None and len(head) == left:
        if not text[len(text) - len(rest) : node.end - 1].strip():
            rest = rest.lstrip()
        elif "\n" not in text[left : item.start]:
            rest = rest.lstrip(" ")
    if in_comment and not rest.lstrip(" \t").startswith(("\r", "\n")):
        head += "\n"
    return head + rest


def _deepest(root: Node, path: Path) -> tuple[Node, int]:
    """The last node on the way to `path` that is there, and how many steps lead to it."""
    node = root
    for depth, step in enumerate(path):
        child = _child(node, step)
        if child is None:
            return node, depth
        node = child
    return node, len(path)


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(step, str):
        found = (node.members or {}).get(step)
        return found.value if found else None
    return node.items[step].value if node.is_array and 0 <= step < len(node.items) else None


def _item(node: Node, step: str | int) -> Item:
    return (node.members or {})[step] if isinstance(step, str) else node.items[step]


def _require_room(node: Node, step: str | int, path: Path) -> None:
    if isinstance(step, int) != node.is_array or (not node.is_array and node.members is None):
        kind = "list" if isinstance(step, int) else "object"
        place = ".".join(map(str, path[:-1])) or "the whole"
        raise JsoncError(f"{place} is no {kind} there.")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _line_end(text: str, at: int) -> int:
    """Behind a comment that belongs to what ends at `at`."""
    found = _SAME_LINE.match(text, at)
    end = found.end() if found else at
    return end if text[at:end].strip() else at
