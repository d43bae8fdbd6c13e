"""The figures as a written assessment, generated and never by hand. Knows figures only."""

from __future__ import annotations

from jinja2 import PackageLoader

from benchmarks.lifecycle.figures import Figures
from benchmarks.lifecycle.reading import COUNTED
from rune_engine.experiments.written import environment


def assessment(figures: Figures) -> str:
    """The assessment in Markdown."""
    loader = PackageLoader("benchmarks.lifecycle", "templates")
    return environment(loader).get_template("lifecycle.md.jinja").render(**figures, counted=COUNTED)
