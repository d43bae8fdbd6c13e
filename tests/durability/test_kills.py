"""`kill -9` at any moment: what was acknowledged is there and whole, and the same succeeds again.

The kills happen in processes of their own, which fork; `kills.py` and `every_call.py` say how.
More of them: `python -m benchmarks.crash --kills 5000`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from run_script import run
from shares import SHARES

KILLS = 500


def test_a_kill_between_any_two_system_calls_of_a_write_loses_nothing() -> None:
    report = run("every_call.py")
    if reason := report.get("unavailable"):
        pytest.skip(reason)
    for name, writes in report.items():
        assert writes["kills"] >= 50, f"{name} makes more system calls than that"
        # Kills after the last call that matters find it there, before that they find nothing.
        assert 0 < writes["acknowledged"] < writes["kills"]
        assert writes["acknowledged"] <= writes["there"] < writes["kills"]


@pytest.mark.parametrize("kind", SHARES)
def test_kills_at_random_moments_lose_nothing_and_nothing_is_done_twice(kind: str) -> None:
    report = run("kills.py", "--kills", str(KILLS), "--seed", "0", "--only", kind)[kind]
    assert report["kills"] == round(KILLS * SHARES[kind])
    # Some of the kills came before, some after what they were to interrupt.
    if kind in ("record", "store", "archive"):
        assert report["acknowledged"] >= report["kills"] / 10
    if kind in ("distill", "run_task", "import"):
        assert report["started_again"] > 0
    if kind in ("backup", "restore"):
        assert report["complete"] < report["kills"]


def test_eight_processes_that_write_at_once_lose_nothing_and_none_starves(tmp_path: Path) -> None:
    report = run("writers.py", "--seconds", "8", "--folder", str(tmp_path))
    for name in ("stores", "engine"):
        assert len(report[name]["recorded"]) == 8
        assert report[name]["slowest_over_mean"] >= 0.25, report[name]


def test_a_restore_that_is_killed_leaves_the_old_state_or_the_new_one() -> None:
    report = run("restores.py")
    if reason := report.get("unavailable"):
        pytest.skip(reason)
    assert report["kills"] == report["old"] + report["new"] >= 30
    assert report["old"] >= 10 and report["new"] >= 1
