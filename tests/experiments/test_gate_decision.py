"""The gate decides by the hypernetwork's gain and nothing else, and says no where it must."""

from __future__ import annotations

from typing import Any

import pytest

from rune_engine.experiments.decision import FAILED, PASSED, decide
from rune_engine.experiments.promises import judge


def gains(**given: tuple[float, float, float] | None) -> dict[str, Any]:
    return {
        name: {"gain_over_base": gain and {"value": gain[0], "interval": list(gain[1:])}}
        for name, gain in given.items()
    }


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        ((0.30, 0.20, 0.40), PASSED),
        ((0.05, 0.05, 0.05), PASSED),
        ((0.30, 0.049, 0.40), FAILED),
        ((0.049, 0.049, 0.40), FAILED),
        ((0.0, 0.0, 0.0), FAILED),
        ((-0.2, -0.3, -0.1), FAILED),
    ],
)
def test_five_points_are_needed_of_the_gain_and_of_its_lower_end(
    gain: tuple[float, float, float], text: str
) -> None:
    decision = decide(gains(hypernetwork=gain, closed_form=(0.9, 0.8, 1.0)))
    assert decision.text == text
    assert decision.condition == "hypernetwork"
    assert decision.passed is (text == PASSED)


def test_without_a_hypernetwork_the_closed_form_decides_and_it_is_said() -> None:
    decision = decide(gains(hypernetwork=None, closed_form=(0.5, 0.4, 0.6)))
    assert (decision.text, decision.condition) == (PASSED, "closed_form")
    assert "no hypernetwork" in decision.reason


def test_direct_training_never_decides() -> None:
    decision = decide(gains(direct=(0.9, 0.8, 1.0), random=(0.9, 0.8, 1.0)))
    assert (decision.text, decision.condition) == (FAILED, None)


def test_the_texts_are_those_of_the_plan() -> None:
    assert (PASSED, FAILED) == ("Gate PASSED", "Gate FAILED - reassessing")


def test_what_was_not_measured_is_neither_held_nor_missed() -> None:
    promises = judge({"conditions": {}})
    assert promises
    assert {promise.held for promise in promises} == {None}


def held(figures: dict[str, Any], words: str) -> bool | None:
    [promise] = [promise for promise in judge(figures) if words in promise.line]
    return promise.held


@pytest.mark.parametrize(("rates", "grows"), [((0.1, 0.4, 0.9), True), ((0.1, 0.5, 0.4), False)])
def test_growth_is_a_curve_that_never_falls(rates: tuple[float, ...], grows: bool) -> None:
    points = {str(n): {"pass_at_1": rate} for n, rate in zip((1, 3, 12), rates, strict=True)}
    assert held({"conditions": {}, "growth": {"closed_form": points}}, "grows") is grows


def test_a_curve_that_stays_does_not_grow() -> None:
    points = {str(n): {"pass_at_1": 0.0} for n in (1, 3)}
    assert held({"growth": {"closed_form": points}}, "grows") is False


@pytest.mark.parametrize(("plain", "kept"), [(0.98, True), (0.97, False), (1.0, True)])
def test_plain_tasks_may_lose_two_points(plain: float, kept: bool) -> None:
    figures = {"plain": {"base": {"pass_at_1": 1.0}, "closed_form": {"pass_at_1": plain}}}
    assert held(figures, "closed_form: plain") is kept


@pytest.mark.parametrize(("gain", "harmless"), [(0.05, True), (0.06, False), (-0.1, True)])
def test_a_random_adapter_must_not_help(gain: float, harmless: bool) -> None:
    figures = {"conditions": gains(random=(gain, gain, gain))}
    assert held(figures, "random adapter") is harmless
