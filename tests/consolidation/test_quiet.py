"""Each reason for not acting, alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from typing import Any

import pytest
from pydantic import ValidationError

from rune_engine.config import ConsolidationSettings
from rune_engine.consolidation.quiet import Surroundings, look_around, reason_to_wait

CALM = Surroundings(
    quiet_seconds=1000.0,
    jobs=(),
    load=0.1,
    on_battery=False,
    clock=time(12, 0),
    free_memory_bytes=8 * 1024**3,
)
GIB = 1024**3


def reason(settings: dict[str, Any] | None = None, **changes: Any) -> str:
    wait = reason_to_wait(replace(CALM, **changes), ConsolidationSettings(**settings or {}))
    return wait.reason if wait else ""


def test_a_calm_machine_is_no_reason_to_wait() -> None:
    assert reason() == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"jobs": ("run_task",)}, "run_task"),
        ({"quiet_seconds": 10.0}, "within 300 s"),
        ({"on_battery": True}, "on battery"),
        ({"load": 0.9}, "load 0.90"),
        ({"free_memory_bytes": GIB}, "1.0 GiB of memory are free, 2.0"),
    ],
)
def test_each_reason_is_a_sentence(changes: dict[str, Any], words: str) -> None:
    assert reason(**changes).startswith("waits: ") and words in reason(**changes)


def test_it_says_how_much_quiet_is_left() -> None:
    wait = reason_to_wait(replace(CALM, quiet_seconds=290.0), ConsolidationSettings())
    assert wait is not None and wait.seconds == 10.0


def test_a_reason_can_be_switched_off() -> None:
    assert reason({"on_battery": True}, on_battery=True) == ""
    assert reason({"max_load": None}, load=99.0) == ""
    assert reason({"min_free_memory_bytes": 0}, free_memory_bytes=0) == ""
    assert reason({"quiet_seconds": 0}, quiet_seconds=0.0) == ""


@pytest.mark.parametrize(
    ("hours", "clock", "works"),
    [
        ("09:00-17:00", time(9, 0), True),
        ("09:00-17:00", time(17, 0), False),
        ("22:00-06:00", time(23, 30), True),
        ("22:00-06:00", time(5, 59), True),
        ("22:00-06:00", time(12, 0), False),
    ],
)
def test_hours_may_span_midnight(hours: str, clock: time, works: bool) -> None:
    assert (reason({"hours": hours}, clock=clock) == "") is works


@pytest.mark.parametrize("hours", ["22-6", "25:00-06:00", "22:00", "", "22:00-06:00 "])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ValidationError):
        ConsolidationSettings(hours=hours)


def test_this_machine_can_be_looked_at() -> None:
    around = look_around(1.0, ())
    assert around.load >= 0 and around.free_memory_bytes > 0


def test_an_update_without_training_needs_less_quiet_and_no_idle_machine() -> None:
    busy = replace(CALM, quiet_seconds=30.0, load=9.0)
    settings = ConsolidationSettings(hours="22:00-06:00")
    assert reason_to_wait(busy, settings, fast=True) is None
    assert reason_to_wait(busy, settings) is not None
    typing = reason_to_wait(replace(busy, quiet_seconds=5.0), settings, fast=True)
    assert typing is not None and typing.seconds == 15.0
    for changes in ({"jobs": ("run_task",)}, {"on_battery": True}, {"free_memory_bytes": 0}):
        assert reason_to_wait(replace(busy, **changes), settings, fast=True) is not None
