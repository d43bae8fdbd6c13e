"""The kill-switch of 001: at least five points over the base model, or the gate has failed.

Knows figures only. The text is what 001 wants in the tracking run's note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rune_engine.experiments.wording import interval, points

LEAST_GAIN = 0.05
PASSED = "Gate PASSED"
FAILED = "Gate FAILED - reassessing"
ROUNDING = 1e-9
"""Means of tenths are not exact: what is short of a bound by this much reaches it."""
_DECIDING = ("hypernetwork", "closed_form")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says, by which condition, and why.

    Attributes:
        condition: whose gain decided; None where no method was available.
    """

    text: str
    condition: str | None
    reason: str

    @property
    def passed(self) -> bool:
        return self.text == PASSED


def decide(conditions: Mapping[str, Mapping[str, Any]]) -> Decision:
    """Decide by the hypernetwork's paired gain, or the closed form's where there is none.

    It passes if the gain is at least five points and so is the lower end of its interval.
    """
    chosen = next((name for name in _DECIDING if _gain(conditions, name) is not None), None)
    if chosen is None:
        return Decision(FAILED, None, "Neither a hypernetwork nor the closed form was measured.")
    gain = _gain(conditions, chosen)
    assert gain is not None
    value, (low, _high) = gain["value"], gain["interval"]
    passed = min(value, low) >= LEAST_GAIN - ROUNDING
    shown = f"{points(value)} points over base, 95 % interval {interval(gain['interval'])}"
    needed = f"{100 * LEAST_GAIN:.0f} points are needed, of the lower end, too."
    by = chosen.replace("_", " ")
    if chosen != _DECIDING[0]:
        by += " (there is no hypernetwork to decide by)"
    return Decision(PASSED if passed else FAILED, chosen, f"The {by}: {shown}; {needed}")


def _gain(conditions: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    gain: Mapping[str, Any] | None = conditions.get(name, {}).get("gain_over_base")
    return gain
