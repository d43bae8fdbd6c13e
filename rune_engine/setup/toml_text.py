"""Changes one table of a TOML text and leaves the rest of it as it was, comments included.

A table is added at the end and cut out as lines: tomlkit counts a comment that follows a table as
part of it, so deleting there would take a neighbour's comment along. Every result is read again
and compared with what it should say. Knows nothing of files.
"""

from __future__ import annotations

import re
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

Path = tuple[str, str]


class TomlError(ValueError):
    """The text is no TOML, or the place is taken by something that is no table; says where."""


def read(text: str) -> dict[str, Any]:
    """The data of a TOML text.

    Raises:
        TomlError: it is not TOML.
    """
    return _document(text).unwrap()


def put(text: str, path: Path, value: dict[str, Any]) -> str:
    """The text with the table `path` having these keys; others that it has stay.

    Raises:
        TomlError: the text is no TOML, or there is something else at `path`.
    """
    document = _document(text)
    outer = document.get(path[0], {})
    if not hasattr(outer, "get") or not hasattr(outer.get(path[1], {}), "get"):
        raise TomlError(f"{'.'.join(path)} is no table there.")
    table = outer.get(path[1])
    if table is None:
        return _added(text, document, path, value)
    for key, item in value.items():
        if table.get(key) != item:
            table[key] = item
    return tomlkit.dumps(document)


def drop(text: str, path: Path) -> str:
    """The text without the table `path`; as it was if there is none.

    Raises:
        TomlError: the text is no TOML.
    """
    document = _document(text)
    outer = document.get(path[0], {})
    if not hasattr(outer, "get") or path[1] not in outer:
        return text
    del outer[path[1]]
    if not outer:
        del document[path[0]]
    expected = document.unwrap()
    cut = _without_lines(text, path)
    try:
        found = tomlkit.parse(cut).unwrap()
    except TOMLKitError:
        found = None
    return cut if found == expected else tomlkit.dumps(document)


def _document(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise TomlError(str(error)) from error


def _added(text: str, document: tomlkit.TOMLDocument, path: Path, value: dict[str, Any]) -> str:
    line_end = "\r\n" if "\r\n" in text else "\n"
    block = tomlkit.dumps({path[0]: {path[1]: value}}).replace("\n", line_end)
    gap = "" if not text.strip() else (line_end if text.endswith("\n") else 2 * line_end)
    try:
        appended = text + gap + block
        if tomlkit.parse(appended).unwrap() == _merged(document, path, value):
            return appended
    except TOMLKitError:
        pass  # an inline table, which cannot be added to from outside
    document.setdefault(path[0], tomlkit.table())[path[1]] = value
    return tomlkit.dumps(document)


def _merged(document: tomlkit.TOMLDocument, path: Path, value: dict[str, Any]) -> dict[str, Any]:
    data = document.unwrap()
    data.setdefault(path[0], {})[path[1]] = value
    return data


def _without_lines(text: str, path: Path) -> str:
    """Without the lines of the table and its sub-tables; comments before the next one stay."""
    names = [rf"(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')" for name in path]
    header = re.compile(rf"[ \t]*\[[ \t]*{names[0]}[ \t]*\.[ \t]*{names[1]}[ \t]*(\]|\.)")
    lines = text.splitlines(keepends=True)
    kept: list[str] = []
    body: list[str] = []
    inside = False
    for line in lines:
        if line.lstrip().startswith("["):
            kept += _tail(body) if inside else []
            inside, body = header.match(line) is not None, []
        (body if inside else kept).append(line)
    tail = _tail(body)
    if any(map(str.strip, tail)):
        return "".join(kept + tail)
    ended = inside and kept and not kept[-1].strip()
    return "".join(kept[:-1] if ended else kept)


def _tail(body: list[str]) -> list[str]:
    """The comments and empty lines at the end of a table: the next one's."""
    count = 0
    for line in reversed(body):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        count += 1
    tail = body[len(body) - count :]
    return tail[1:] if tail and not tail[0].strip() else tail
