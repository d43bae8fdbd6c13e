"""What must hold, each line judged by the figures alone: held, not held, or not measured.

A line is judged by its point estimate; the intervals stand beside it in the report. Knows figures
only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from rune_engine.experiments.decision import LEAST_GAIN, ROUNDING
from rune_engine.experiments.figures import Figures
from rune_engine.experiments.subjects import NEW_COMBINATIONS, NEW_WORDINGS
from rune_engine.experiments.wording import interval, percent, points

Measured = TypeVar("Measured")
_FASTER = 30.0
_KEPT = 0.8
_OF_DIRECT = 0.9
_PLAIN_POINTS = 0.02


@dataclass(frozen=True, slots=True)
class Promise:
    """One line; `held` is None where it was not measured."""

    line: str
    held: bool | None
    figure: str


def judge(figures: Figures) -> list[Promise]:
    """Every line that a run can judge."""
    return [
        *_base(figures),
        *_direct(figures),
        *_closed_form(figures),
        *_hypernetwork(figures),
        *_controls(figures),
        *_growth(figures),
        Promise("trajectories longer than the context still teach", None, "by the trainers' tests"),
    ]


def _base(figures: Figures) -> Iterator[Promise]:
    plain = _at(figures, "plain", "base", "pass_at_1")
    yield _least("plain tasks, base model alone: at least 95 %", plain, 0.95)
    alone = _at(figures, "conditions", "base", "pass_at_1")
    yield _most("unseen project, nothing in context: at most 5 %", alone, 0.05)
    shown = _at(figures, "conditions", "in_context", "pass_at_1")
    yield _least("trajectories in context: at least 85 %", shown, 0.85)
    repaired = _at(figures, "repair", "alone", "pass_at_1")
    yield _least("repair after one informative error: at least 70 %", repaired, 0.70)


def _direct(figures: Figures) -> Iterator[Promise]:
    kinds = {NEW_COMBINATIONS: ("new combinations", 0.95), NEW_WORDINGS: ("new wordings", 0.85)}
    for kind, (name, least) in kinds.items():
        rate = _at(figures, "conditions", "direct", "by_kind", kind, "pass_at_1")
        yield _least(f"direct LoRA, {name}: at least {100 * least:.0f} %", rate, least)


def _closed_form(figures: Figures) -> Iterator[Promise]:
    yield _share_of_direct(figures, "closed_form")
    yield from _plain_kept(figures, "closed_form")
    yield _faster(figures, "closed_form")
    consolidated = figures.get("consolidation") or {}
    share, weights = consolidated.get("statistics_keep"), consolidated.get("weights_keep")
    told = f"; added weights keep {weights:.2f}" if weights is not None else ""
    size = consolidated.get("projects", 4)
    line = f"closed form, statistics of {size} projects added: at least {_KEPT} of separate ones"
    yield _judged(line, share, lambda v: v >= _KEPT - ROUNDING, lambda v: f"{v:.2f}{told}")


def _hypernetwork(figures: Figures) -> Iterator[Promise]:
    name = "hypernetwork"
    ahead = _at(figures, "conditions", name, "gain_over_closed_form")
    line = "hypernetwork: better than the closed form"
    yield _judged(line, ahead, lambda gain: gain["value"] > 0, _gained)
    yield _share_of_direct(figures, name)
    yield _faster(figures, name)
    yield from _plain_kept(figures, name)
    asked = _at(figures, "conditions", name, "prompt_tokens")
    base = _at(figures, "conditions", "base", "prompt_tokens")
    more = asked - base if asked is not None and base is not None else None
    line = "hypernetwork: no prompt tokens"
    yield _judged(line, more, lambda v: abs(v) < ROUNDING, lambda v: f"{v:.0f} more than base")
    yield _clear_gain(figures, name)
    cosine = _at(figures, "diagnostics", name, "mean_cosine")
    line = "hypernetwork: mean cosine between projects' adapters under 0.9"
    yield _judged(line, cosine, lambda v: v < 0.9, lambda v: f"{v:.3f}")


def _clear_gain(figures: Figures, name: str) -> Promise:
    gain = _at(figures, "conditions", name, "gain_over_base")
    line = f"{name}: at least 30 points over base, its interval above 5"
    return _judged(line, gain, _is_clear, _gained)


def _is_clear(gain: Figures) -> bool:
    low, _high = gain["interval"]
    return bool(gain["value"] >= 0.30 - ROUNDING and low > LEAST_GAIN)


def _controls(figures: Figures) -> Iterator[Promise]:
    for name, title in (("random", "a random adapter"), ("wrong_project", "another project's")):
        gain = _at(figures, "conditions", name, "gain_over_base", "value")
        line = f"{title}: no better than base + 5 points"
        yield _judged(line, gain, lambda v: v <= LEAST_GAIN + ROUNDING, _points)


def _growth(figures: Figures) -> Iterator[Promise]:
    for method, curve in (figures.get("growth") or {}).items():
        rates = [point["pass_at_1"] for point in curve.values()]
        line = f"{method}: Pass@1 grows with trajectories ({', '.join(curve)})"
        if len(rates) < 2 or None in rates:
            yield Promise(line, None, "not measured")
            continue
        told = ", ".join(percent(rate) for rate in rates)
        rising = all(one <= other for one, other in itertools.pairwise(rates))
        yield Promise(line, rising and rates[-1] > rates[0], told)


def _share_of_direct(figures: Figures, name: str) -> Promise:
    own = _at(figures, "conditions", name, "pass_at_1")
    direct = _at(figures, "conditions", "direct", "pass_at_1")
    share = own / direct if own is not None and direct else None
    line = f"{name}: at least {_OF_DIRECT} of direct LoRA's Pass@1"
    return _judged(line, share, lambda v: v >= _OF_DIRECT - ROUNDING, lambda v: f"{v:.2f}")


def _plain_kept(figures: Figures, name: str) -> Iterator[Promise]:
    base = _at(figures, "plain", "base", "pass_at_1")
    own = _at(figures, "plain", name, "pass_at_1")
    change = own - base if own is not None and base is not None else None
    line = f"{name}: plain tasks within 2 points"
    yield _judged(line, change, lambda v: v >= -_PLAIN_POINTS - ROUNDING, _points)


def _faster(figures: Figures, name: str) -> Promise:
    times = _at(figures, "timing", name, "direct_takes_times")
    line = f"{name}: an adapter at least {_FASTER:.0f} times faster than direct training"
    return _judged(line, times, lambda v: v >= _FASTER, lambda v: f"{v:.1f} times")


def _least(line: str, value: float | None, least: float) -> Promise:
    return _judged(line, value, lambda v: v >= least - ROUNDING, percent)


def _most(line: str, value: float | None, most: float) -> Promise:
    return _judged(line, value, lambda v: v <= most + ROUNDING, percent)


def _judged(
    line: str,
    value: Measured | None,
    holds: Callable[[Measured], bool],
    shown: Callable[[Measured], str],
) -> Promise:
    if value is None:
        return Promise(line, None, "not measured")
    return Promise(line, holds(value), shown(value))


def _points(value: float) -> str:
    return f"{points(value)} points"


def _gained(gain: Figures) -> str:
    return f"{_points(gain['value'])}, interval {interval(gain['interval'])}"


def _at(figures: Figures, *path: str) -> Any:
    """What stands there; None where nothing does."""
    found: Any = figures
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
