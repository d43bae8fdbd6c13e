"""What changed between two versions of a Python file, as pieces that a small model can learn.

A small file is one piece; otherwise each function, method or class whose syntax tree changed,
with the imports that it uses. Comments, layout and docstrings alone are no change. Pure.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

NOT_PARSED = "does not compile"
NO_CHANGE = "only comments, docstrings or layout changed"
TOO_LARGE = "too large"
TOO_SMALL = "too small"
NOTHING_INSIDE = "nothing changed in a function or class, or it was removed"

SMALL_FILE_CHARS, SMALL_FILE_LINES = 3_000, 80
MOST_CHARS, MOST_LINES, FEWEST_LINES = 4_000, 120, 2
_MOST_METHODS = 2

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece before and after; `before` is None where it was added.

    `name` is dotted, empty for the whole file. `reverted` is the whole file's new version with this
    piece as it was before.
    """

    name: str
    kind: str
    before: str | None
    after: str
    reverted: str


@dataclass(frozen=True)
class _File:
    lines: list[str]
    tree: ast.Module
    definitions: dict[str, _Definition]

    def text(self, node: _Definition) -> str:
        return "\n".join(self.lines[_first(node) - 1 : node.end_lineno])

    def shown(self, name: str) -> str:
        """A definition with the imports it uses; a method within its class's first line."""
        node = self.definitions[name]
        text = self.text(node)
        if "." in name:
            owner = self.definitions[name.split(".")[0]]
            head = self.lines[owner.lineno - 1 : _first(node) - 1]
            text = "\n".join([*_until_colon(head), text])
        imports = self.imports_of(node)
        return "\n".join([*imports, "", "", text] if imports else [text]) + "\n"

    def imports_of(self, node: ast.AST) -> list[str]:
        used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        return [
            "\n".join(self.lines[each.lineno - 1 : each.end_lineno])
            for each in self.tree.body
            if isinstance(each, ast.Import | ast.ImportFrom)
            and not (isinstance(each, ast.ImportFrom) and each.module == "__future__")
            and used & {(alias.asname or alias.name).split(".")[0] for alias in each.names}
        ]


def changed_units(before: str | None, after: str) -> tuple[list[Unit], list[str]]:
    """The pieces that changed, and for each that is left out why.

    Args:
        before: None for a new file.
    """
    try:
        return _changed_units(before, after)
    except RecursionError:
        return [], [NOT_PARSED]


def _changed_units(before: str | None, after: str) -> tuple[list[Unit], list[str]]:
    new, old = _read(after), _read(before) if before is not None else None
    if new is None or (before is not None and old is None):
        return [], [NOT_PARSED]
    if _is_small(after) and (before is None or _is_small(before)):
        same = old is not None and _meaning(old.tree) == _meaning(new.tree)
        return ([], [NO_CHANGE]) if same else _whole(before, after, new)
    found = [_unit(name, old, new) for name in _changed(old, new)]
    units = [each for each in found if isinstance(each, Unit)]
    skipped = [each for each in found if isinstance(each, str)]
    return units, skipped if found else [NOTHING_INSIDE]


def fingerprint(text: str) -> str:
    """What two pieces have in common that differ in layout, comments and docstrings only."""
    found = _read(text)
    try:
        return _meaning(found.tree) if found is not None else text
    except RecursionError:
        return text


def _read(text: str) -> _File | None:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        tree = ast.parse(text)
        _drop_docstrings(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return _File(text.split("\n"), tree, dict(_definitions(tree)))


def _definitions(tree: ast.Module) -> Iterator[tuple[str, _Definition]]:
    """Functions, classes and methods by name; none that is defined more than once."""
    found: dict[str, list[_Definition]] = {}
    for node in tree.body:
        if isinstance(node, _Definition):
            found.setdefault(node.name, []).append(node)
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, _Function):
                    found.setdefault(f"{node.name}.{each.name}", []).append(each)
    yield from ((name, nodes[0]) for name, nodes in found.items() if len(nodes) == 1)


def _changed(old: _File | None, new: _File) -> list[str]:
    """The names of what changed: a class's methods where few of them are all that did."""
    known = old.definitions if old is not None else {}
    differs = [
        name
        for name, node in new.definitions.items()
        if name not in known or _differ(old, known[name], new, node)
    ]
    chosen: list[str] = []
    for name in differs:
        node = new.definitions[name]
        if "." in name:
            continue
        methods = [each for each in differs if each.startswith(f"{name}.")]
        alone = name in known and _apart(known[name]) == _apart(node)
        if isinstance(node, ast.ClassDef) and methods:
            few = alone and len(methods) <= _MOST_METHODS
            chosen += methods if few or _is_large(new.text(node)) else [name]
        else:
            chosen.append(name)
    return chosen


def _differ(old: _File | None, one: _Definition, new: _File, other: _Definition) -> bool:
    """Whether two versions of a definition mean something else; most are the same text."""
    assert old is not None
    return old.text(one) != new.text(other) and _meaning(one) != _meaning(other)


def _apart(node: _Definition) -> str:
    """A class without its methods."""
    if not isinstance(node, ast.ClassDef):
        return ""
    rest = [each for each in node.body if not isinstance(each, _Function)]
    kept = ast.ClassDef(node.name, node.bases, node.keywords, rest, node.decorator_list)
    return _meaning(kept)


def _unit(name: str, old: _File | None, new: _File) -> Unit | str:
    node = new.definitions[name]
    after = new.shown(name)
    before = old.shown(name) if old is not None and name in old.definitions else None
    if _is_large(after) or (before is not None and _is_large(before)):
        return TOO_LARGE
    if (node.end_lineno or 0) - node.lineno + 1 < FEWEST_LINES:
        return TOO_SMALL
    if before is not None and fingerprint(before) == fingerprint(after):
        return NO_CHANGE
    put = old.text(old.definitions[name]).split("\n") if old is not None and before else []
    reverted = [*new.lines[: _first(node) - 1], *put, *new.lines[node.end_lineno :]]
    kind = "class" if isinstance(node, ast.ClassDef) else "method" if "." in name else "function"
    return Unit(name, kind, before, after, "\n".join(reverted))


def _whole(before: str | None, after: str, new: _File) -> tuple[list[Unit], list[str]]:
    if not new.definitions:
        return [], [NOTHING_INSIDE]
    return [Unit("", "file", before, after, before or "")], []


def _meaning(node: ast.AST) -> str:
    """The tree without places."""
    return ast.dump(node)


def _drop_docstrings(tree: ast.Module) -> None:
    """Take them out of the tree; where everything is in the text stays as it was."""
    pending: list[ast.Module | _Definition] = [tree]
    while pending:
        node = pending.pop()
        pending += [each for each in node.body if isinstance(each, _Definition)]
        first = node.body[0].value if node.body and isinstance(node.body[0], ast.Expr) else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            del node.body[0]


def _first(node: _Definition) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _until_colon(head: list[str]) -> list[str]:
    """The lines of a class's header, without its docstring or attributes."""
    for number, line in enumerate(head, 1):
        if line.split("#")[0].rstrip().endswith(":"):
            return head[:number]
    return head[:1]


def _is_small(text: str) -> bool:
    return len(text) <= SMALL_FILE_CHARS and text.count("\n") <= SMALL_FILE_LINES


def _is_large(text: str) -> bool:
    return len(text) > MOST_CHARS or text.count("\n") > MOST_LINES
