"""The assessment's pictures, as SVG: Pass@1 by condition, and by number of trajectories.

matplotlib draws them, where it is installed; without it there are none. Knows figures only.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rune_engine.experiments.figures import Figures

PLOTS = ("conditions", "growth")
_SETTINGS = {"svg.hashsalt": "rune", "svg.fonttype": "none", "font.size": 9}
"""The same figures give the same bytes."""


def plot(figures: Figures, folder: Path, stem: str) -> dict[str, Path]:
    """Draw into `folder`, over what lies there; by name, empty without matplotlib."""
    if find_spec("matplotlib") is None:
        return {}
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    with matplotlib.rc_context(_SETTINGS):
        for name, draw in zip(PLOTS, (_conditions, _growth), strict=True):
            picture = draw(figures)
            if picture is not None:
                drawn[name] = folder / f"{stem}-{name}.svg"
                picture.savefig(drawn[name], metadata={"Date": None})
    return drawn


def _axes(title: str, width: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(width, 3.4), layout="constrained")
    axes = picture.subplots()
    axes.set_title(title)
    axes.set_ylabel("Pass@1")
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y", alpha=0.3)
    return picture, axes


def _conditions(figures: Figures) -> Any:
    measured = {
        name: each for name, each in figures["conditions"].items() if each["pass_at_1"] is not None
    }
    if not measured:
        return None
    picture, axes = _axes("Held-out tasks of unseen projects, 95 % intervals", 7.0)
    heights = [each["pass_at_1"] for each in measured.values()]
    axes.bar(list(measured), heights, yerr=_reach(list(measured.values())), capsize=4)
    axes.tick_params(axis="x", labelrotation=20)
    return picture


def _growth(figures: Figures) -> Any:
    growth = figures.get("growth") or {}
    if not any(len(points) > 1 for points in growth.values()):
        return None
    picture, axes = _axes("What more trajectories teach, 95 % intervals", 5.5)
    for method, points in growth.items():
        known = {int(n): each for n, each in points.items() if each["pass_at_1"] is not None}
        heights = [each["pass_at_1"] for each in known.values()]
        reach = _reach(list(known.values()))
        axes.errorbar(list(known), heights, yerr=reach, marker="o", capsize=3, label=method)
    axes.set_xlabel("trajectories")
    axes.legend()
    return picture


def _reach(measured: list[Figures]) -> list[list[float]]:
    """How far the intervals reach below and above."""
    return [
        [max(0.0, each["pass_at_1"] - each["interval"][0]) for each in measured],
        [max(0.0, each["interval"][1] - each["pass_at_1"]) for each in measured],
    ]
