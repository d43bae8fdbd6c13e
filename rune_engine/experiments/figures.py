"""Answers become figures: Pass@1 by condition and kind, gains, tokens, seconds. JSON-ready.

Knows answers and intervals; nothing of how the answers came about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from rune_engine.evaluation.intervals import Estimate, estimate
from rune_engine.experiments.adapters import Made
from rune_engine.experiments.conditions import Condition
from rune_engine.experiments.sampling import Answered

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are taken."""

    resamples: int
    seed: int

    def mean(self, answered: Sequence[Answered]) -> Estimate | None:
        """Pass@1 over the tasks that were decided."""
        values: dict[str, list[float]] = defaultdict(list)
        for each in answered:
            if (value := each.pass_at_1) is not None:
                values[each.subject].append(value)
        return estimate(values, self.resamples, self.seed)

    def gain(self, answered: Sequence[Answered], over: Sequence[Answered]) -> Estimate | None:
        """The difference on the tasks that were decided on both sides."""
        other = {each.task: each.pass_at_1 for each in over}
        values: dict[str, list[float]] = defaultdict(list)
        for each in answered:
            value, before = each.pass_at_1, other.get(each.task)
            if value is not None and before is not None:
                values[each.subject].append(value - before)
        return estimate(values, self.resamples, self.seed)


def condition_figures(
    condition: Condition,
    base: Sequence[Answered],
    closed_form: Sequence[Answered],
    bootstrap: Bootstrap,
) -> Figures:
    """One condition of the report, beside the base model alone and the closed form."""
    answered = condition.answered
    return {
        "available": condition.reason is None,
        "reason": condition.reason,
        **pass_figures(answered, bootstrap),
        "gain_over_base": _gained(bootstrap.gain(answered, base)),
        "gain_over_closed_form": _gained(bootstrap.gain(answered, closed_form)),
        "prompt_tokens": _mean([a.prompt_tokens for a in answered if a.prompt_tokens]),
        "completion_tokens": _mean([a.completion_tokens for a in answered]),
        "sessions_in_prompt": _mean(list(condition.shown.values())),
        "seconds_per_adapter": _mean([m.result.seconds for m in condition.adapters.values()]),
    }


def pass_figures(answered: Sequence[Answered], bootstrap: Bootstrap) -> Figures:
    """Pass@1 with its interval, over all tasks, by kind and by project."""
    kinds = sorted({each.kind for each in answered})
    subjects = list(dict.fromkeys(each.subject for each in answered))
    return {
        **_told(bootstrap.mean(answered)),
        "samples": sum(len(each.verdicts) - each.undecided for each in answered),
        "undecided": sum(each.undecided for each in answered),
        "by_kind": {
            kind: _told(bootstrap.mean([a for a in answered if a.kind == kind])) for kind in kinds
        },
        "by_project": {
            subject: _mean(
                [a.pass_at_1 for a in answered if a.subject == subject and a.pass_at_1 is not None]
            )
            for subject in subjects
        },
    }


def _gained(found: Estimate | None) -> Figures | None:
    if found is None:
        return None
    return {"value": found.value, "interval": found.interval, "tasks": found.tasks}


def _told(found: Estimate | None) -> Figures:
    if found is None:
        return {"pass_at_1": None, "interval": None, "tasks": 0}
    return {"pass_at_1": found.value, "interval": found.interval, "tasks": found.tasks}


def timing(adapters: Mapping[str, Mapping[str, Made]]) -> Figures:
    """Seconds per adapter by method, and how often each fits into direct training's time."""
    told: Figures = {method: _seconds(list(made.values())) for method, made in adapters.items()}
    direct = adapters.get("direct", {})
    for method, made in adapters.items():
        if method != "direct" and direct:
            shared = [name for name in made if name in direct]
            told[method]["direct_takes_times"] = _ratio(told, method, "mean_seconds")
            told[method]["direct_takes_times_of_process"] = _ratio(told, method, "wall_seconds")
            told[method]["direct_takes_times_by_project"] = [
                direct[name].result.seconds / made[name].result.seconds for name in shared
            ]
    return told


def _seconds(made: Sequence[Made]) -> Figures:
    def of(measure: Callable[[Made], float]) -> list[float]:
        return [measure(each) for each in made]

    return {
        "adapters": len(made),
        "mean_seconds": fmean(of(lambda m: m.result.seconds)),
        "median_seconds": median(of(lambda m: m.result.seconds)),
        "wall_seconds": fmean(of(lambda m: m.wall_seconds)),
        "cpu_seconds": fmean(of(lambda m: m.cpu_seconds)),
        "peak_memory_bytes": max(of(lambda m: float(m.result.peak_memory_bytes))),
    }


def _ratio(told: Figures, method: str, measure: str) -> float:
    ratio: float = told["direct"][measure] / told[method][measure]
    return ratio


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
