"""`kill -9` of evolution at random moments: no half decision, no file lost, and it goes on."""

from __future__ import annotations

from run_script import run

KILLS = 40


def test_evolution_that_is_killed_leaves_whole_decisions_and_whole_files() -> None:
    report = run("evolution_kills.py", "--kills", str(KILLS), "--seed", "0")
    assert report["kills"] == KILLS
    # It did something between the kills, and some of that was decisions.
    assert report["operations"] >= KILLS / 2 and report["decisions"] >= 5
