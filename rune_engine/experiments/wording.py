"""Figures in words, the same wherever they stand; None is a dash. Knows numbers only."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "–"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:+.1f}"


def interval(ends: Sequence[float] | None) -> str:
    return NONE if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def number(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"
