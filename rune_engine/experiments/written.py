"""How a template becomes a written assessment: strictly, its figures in the same words everywhere.

Knows templates and wording; no figures.
"""

from __future__ import annotations

from jinja2 import BaseLoader, Environment, StrictUndefined

from rune_engine.experiments.wording import interval, number, percent, points


def verdict(held: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "not measured"}[held]


def environment(loader: BaseLoader) -> Environment:
    """What renders templates in Markdown; a name that a template misses is an error."""
    made = Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    made.filters.update(
        percent=percent, points=points, interval=interval, number=number, verdict=verdict
    )
    return made
