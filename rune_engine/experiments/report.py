"""What came out of a gate: the figures as a written assessment, generated and never by hand.

The text follows from the figures alone, so it says no where they say no. Knows figures; nothing
of how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader

from rune_engine.experiments.figures import Figures
from rune_engine.experiments.leaks import DOUBTFUL_GAIN
from rune_engine.experiments.plots import PLOTS
from rune_engine.experiments.wording import interval, number, percent, points
from rune_engine.experiments.written import environment


def assessment(figures: Figures, plots: Mapping[str, Path] | None = None) -> str:
    """The assessment in Markdown; `plots` lie beside it."""
    drawn = plots or {}
    pictures = {name: drawn[name].name if name in drawn else None for name in PLOTS}
    template = _environment().get_template("assessment.md.jinja")
    return template.render(
        **figures, plots=pictures, doubtful=doubtful(figures), doubtful_gain=DOUBTFUL_GAIN
    )


def doubtful(figures: Figures) -> list[str]:
    """The conditions that gain so much that 001 wants them doubted."""
    return [
        name
        for name, condition in figures["conditions"].items()
        if condition["gain_over_base"] and condition["gain_over_base"]["value"] > DOUBTFUL_GAIN
    ]


def rows(figures: Figures) -> list[tuple[str, ...]]:
    """The conditions as they stand in a table: name, Pass@1, interval, gain, tokens, seconds."""
    return [
        (
            name,
            percent(each["pass_at_1"]),
            interval(each["interval"]),
            points(each["gain_over_base"] and each["gain_over_base"]["value"]),
            number(each["prompt_tokens"], 0),
            number(each["seconds_per_adapter"], 2),
        )
        for name, each in figures["conditions"].items()
    ]


@cache
def _environment() -> Environment:
    return environment(PackageLoader("rune_engine.experiments", "templates"))
