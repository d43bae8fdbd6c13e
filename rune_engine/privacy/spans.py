"""Where a secret stands in a text, and what stands there afterwards."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

MARKER = re.compile(r"\[secret:([a-z0-9-]{1,40})\]")


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]` is a secret of this kind."""

    start: int
    end: int
    kind: str


def marker(kind: str) -> str:
    """What replaces a secret of this kind."""
    return f"[secret:{kind}]"


def merge(spans: Iterable[Span], text: str) -> list[Span]:
    """The spans in order and without overlaps: those that overlap become one.

    Of overlapping spans the first given names the kind, so give the most telling ones first.
    A span that is nothing but markers is left out, and one that cuts a marker takes it in whole:
    redacting a redacted text changes nothing.
    """
    ranked = sorted(enumerate(spans), key=lambda pair: (pair[1].start, pair[0]))
    if not ranked:
        return []
    markers = [found.span() for found in MARKER.finditer(text)]
    merged: list[tuple[int, Span]] = []
    for rank, span in ranked:
        fitted = _around_markers(span, markers) if markers else span
        if fitted is None:
            continue
        if merged and fitted.start < merged[-1][1].end:
            merged[-1] = _union(merged[-1], (rank, fitted))
        else:
            merged.append((rank, fitted))
    return [span for _, span in merged]


def replace(text: str, spans: Iterable[Span]) -> str:
    """`text` with each span replaced by its marker; the spans come from `merge`."""
    pieces: list[str] = []
    end = 0
    for span in spans:
        pieces += (text[end : span.start], marker(span.kind))
        end = span.end
    return "".join((*pieces, text[end:]))


def _around_markers(span: Span, markers: list[tuple[int, int]]) -> Span | None:
    """The span with every marker that it touches; None when there is nothing else in it."""
    start, end, covered = span.start, span.end, 0
    nearest = max(bisect_right(markers, (start, start)) - 1, 0)
    for first, last in markers[nearest:]:
        if first >= end:
            break
        if start < last:
            start, end = min(start, first), max(end, last)
            covered += last - first
    return Span(start, end, span.kind) if covered < end - start else None


def _union(one: tuple[int, Span], other: tuple[int, Span]) -> tuple[int, Span]:
    rank, first = min(one, other, key=lambda pair: pair[0])
    start, end = min(one[1].start, other[1].start), max(one[1].end, other[1].end)
    return rank, Span(start, end, first.kind)
