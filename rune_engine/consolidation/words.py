"""What is due, what rests and why something is done, in sentences for people."""

from __future__ import annotations

from rune_engine.consolidation.policy import Due, Resting


def due_line(due: Due) -> str:
    """One line of what is due."""
    way = ", without training" if due.fast else ""
    return f"{due.scope} ({due.scope.level} level): {due.new} new trajectories{way}"


def why(due: Due) -> str:
    """The reason that the event of a distillation gives."""
    way = "without training, from" if due.fast else "distilling"
    return (
        f"{due.scope} has {due.new} new trajectories: {way} "
        f"{len(due.trained)} of them, {len(due.kept_back)} are kept back."
    )


def resting_line(resting: Resting) -> str:
    """Why a scope is left alone, and until when."""
    failure = resting.failure
    return (
        f"{failure.scope} is left alone until {resting.until:%Y-%m-%d %H:%M} UTC, or until enough "
        f"is new: its last distillation did not work. {failure.reason}"
    )
