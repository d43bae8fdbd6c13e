"""Reading files that somebody else is writing: bounded, tolerant, and never more than reading.

A line or a document may be cut off at any byte, be no JSON, or be enormous. Knows no format.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rune_engine.capture.steps import Reading
from rune_engine.errors import InvalidInputError

MAX_FILE_BYTES = 64 * 1024**2
MAX_LINE_BYTES = 8 * 1024**2
HEAD_BYTES = 16 * 1024

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{},:]|[^][{},:"\s]+', re.S)
_OPENING = {"{": "}", "[": "]"}


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """A regular file's bytes.

    Raises:
        InvalidInputError: it is none, cannot be read, or is larger than `limit`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable(path, "it is not a regular file")
            if status.st_size > limit:
                raise _unreadable(path, f"it is larger than {limit // 1024**2} MiB")
            return file.read(limit)
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error


def read_head(path: Path) -> bytes:
    """The first bytes of a regular file; none of anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            return file.read(HEAD_BYTES) if regular else b""
    except (OSError, ValueError):
        return b""


def read_text(path: Path) -> str:
    """A file's text; bytes that are no UTF-8 are replaced. Raises InvalidInputError."""
    return read_bytes(path).decode("utf-8", "replace")


def json_lines(path: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file; what is none is counted in `reading`.

    Raises InvalidInputError.
    """
    data = read_bytes(path)
    for line in data.splitlines(keepends=True):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            reading.skip("a line that is too long")
            continue
        found = parse(line)
        if isinstance(found, dict):
            yield found
        else:
            reading.skip("a line that is no record" if line.endswith(b"\n") else "a half line")


def json_document(path: Path, reading: Reading) -> tuple[Any, bool]:
    """A JSON document and whether it is whole; of one that is cut off, all that is complete.

    Raises InvalidInputError.
    """
    text = read_text(path)
    found = parse(text)
    if found is not None:
        return found, True
    if text.strip():
        reading.skip("the end of a file that is cut off")
    return parse(_closed(text)), False


def parse(text: str | bytes) -> Any:
    """JSON, or None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _closed(text: str) -> str:
    """A cut-off JSON text up to its last complete value, with what is open closed."""
    closers: list[str] = []
    safe, depth, is_value = 0, 0, True
    for found in _TOKEN.finditer(text):
        token = found.group()
        if token in _OPENING:
            closers.append(_OPENING[token])
            is_value = token == "["
            continue
        if token in ",:":
            is_value = token == ":" or closers[-1:] == ["]"]
            continue
        if token in "}]":
            if not closers or closers.pop() != token:
                break
        elif not is_value or (token[0] != '"' and found.end() == len(text)):
            continue  # a key, or a number that may go on
        safe, depth = found.end(), len(closers)
    return text[:safe] + "".join(reversed(closers[:depth]))


def _unreadable(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{str(path)[:300]} cannot be read: {why}.",
        next_step="Give a session file, or a folder of such files.",
    )
