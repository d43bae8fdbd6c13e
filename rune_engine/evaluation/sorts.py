"""Sorts of evaluations, by what was judged by; a fitness follows from one of them alone."""

from __future__ import annotations

from rune_engine.models import EvaluationSettings

HELD_OUT = "held_out"


def kind_of(settings: EvaluationSettings) -> str:
    """By what it was judged: all its held-out tasks, folds, named ones, a suite,
    or what it predicts."""
    if settings.suite is not None:
        return "suite"
    if settings.criterion == "pbb":
        return "pbb"
    if settings.folds is not None:
        return "folds"
    return "named" if settings.named else HELD_OUT


def no_fitness(settings: EvaluationSettings) -> str | None:
    """Why no fitness follows from such an evaluation."""
    if settings.suite is not None:
        return "Measured on a suite, whose tasks are not its project's: no fitness follows."
    if settings.criterion == "pbb":
        return "Measured by predicting programs that it was taught: no fitness follows."
    if settings.named:
        return "Measured on tasks that the caller chose: no fitness follows."
    return None
