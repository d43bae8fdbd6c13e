"""The figures as a written assessment, generated and never by hand. Knows figures only."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks.lifecycle.figures import Figures
from benchmarks.lifecycle.reading import COUNTED
from rune_engine.experiments.wording import interval, number, percent, points


def assessment(figures: Figures) -> str:
    """The assessment in Markdown."""
    return _environment().get_template("lifecycle.md.jinja").render(**figures, counted=COUNTED)


def verdict(holds: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "not measured"}[holds]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("benchmarks.lifecycle", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    filters: dict[str, Any] = {
        "percent": percent,
        "points": points,
        "interval": interval,
        "number": number,
        "verdict": verdict,
    }
    environment.filters |= filters
    return environment
