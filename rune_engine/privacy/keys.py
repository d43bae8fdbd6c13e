"""Private keys of several lines: the whole block between its first and its last line.

A block may be cut off at either end (program output is), may stand in a string with `\\n` in it,
and may be quoted line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rune_engine.privacy.spans import Span

KIND = "private-key"
_NAME = r"(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?"
_BEGIN = re.compile(rf"-----BEGIN {_NAME}-----|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----")
_END = re.compile(rf"-----END {_NAME}-----|---- END SSH2 ENCRYPTED PRIVATE KEY ----")
_PUTTY = re.compile(r"Private-Lines: \d+\r?\n((?:[A-Za-z0-9+/=]+\r?\n?)+)")
_BODY_LINE = re.compile(
    r"[\s\"'#>|+*,()]*(?:[A-Za-z0-9+/]{4,}={0,2}(?:\\[nr])*|[A-Z][A-Za-z-]+: [^\n]*)?"
    r"[\s\"'\\,+()]*"
)
_LAST_LINES = re.compile(r"[\s\"'#>|+*]*[A-Za-z0-9+/]{2,}={0,2}[\s\"'\\n,]*")
_MATERIAL = re.compile(r"[A-Za-z0-9+/]{16}")
_LONGEST_BLOCK = 20_000
_LONGEST_LINE = 200


def spans(text: str) -> Iterator[Span]:
    """The body of every private key; its first and last line stay, as they say what it was."""
    if "PRIVATE KEY" not in text and "Private-Lines" not in text:
        return
    begins = [match.span() for match in _BEGIN.finditer(text)]
    ends = [match.span() for match in _END.finditer(text)]
    position = 0
    for begin, body in begins:
        if begin < position:
            continue
        while ends and ends[0][0] < begin:
            yield from _cut_off_above(text, position, ends.pop(0)[0])
        if ends and ends[0][0] - body <= _LONGEST_BLOCK:
            stop, position = ends.pop(0)
        else:
            stop = position = _end_of_body(text, body)
        yield from _span(text, body, stop)
    for end, _ in ends:
        yield from _cut_off_above(text, position, end)
        position = end
    for match in _PUTTY.finditer(text):
        yield from _span(text, *match.span(1))


def _cut_off_above(text: str, first: int, end: int) -> Iterator[Span]:
    yield from _span(text, _start_of_body(text, first, end), end)


def _span(text: str, start: int, end: int) -> Iterator[Span]:
    if _MATERIAL.search(text, start, end):
        yield Span(start, end, KIND)


def _end_of_body(text: str, position: int) -> int:
    """Where a block without a last line ends: at the first line that is no part of a key."""
    escaped = re.compile(r"[A-Za-z0-9+/=\\]*").match(text, position)
    position = escaped.end() if escaped else position
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        if end - position > _LONGEST_LINE or not _BODY_LINE.fullmatch(text, position, end):
            return position
        if end == len(text):
            return end
        position = end + 1
    return len(text)


def _start_of_body(text: str, first: int, position: int) -> int:
    """Where a block without a first line begins, looking back from its last line to `first`."""
    while position > first:
        start = max(text.rfind("\n", first, position - 1) + 1, first)
        if position - start > _LONGEST_LINE or not _LAST_LINES.fullmatch(text, start, position):
            return position
        position = start
    return first
