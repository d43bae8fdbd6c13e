"""Kill a process between every two system calls of one publish and of one record.

    python every_call.py        (with this checkout and its tests on PYTHONPATH)

Prints what it did as JSON. Each kill has a home of its own, copied from a prepared one; a process
that was not there before looks at what is left, sweeps, and does the same again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import homes
from forks import Say, call, start
from homes import Stores
from traced import kill_before_call, stop_to_be_traced, why_unavailable

BEFORE, TRACED = 0, 1
"""The numbers of what the home held before, and of what is written when the kill comes."""

MOST_CALLS = 5000
"""More than this no publish makes: a run that gets here has stopped counting."""


def main() -> None:
    if reason := why_unavailable():
        print(json.dumps({"unavailable": reason}))
        return
    with homes.scratch() as folder:
        template = folder / "template"
        call(lambda: _prepare(template))
        report = {
            "publish": _every_call(folder, homes.publish, _check_publish),
            "record": _every_call(folder, homes.record, _check_record),
        }
    print(json.dumps(report))


def _prepare(home: Path) -> None:
    with homes.opened(home) as stores:
        homes.publish(stores, BEFORE)
        homes.record(stores, BEFORE)


def _every_call(
    folder: Path, write: Callable[[Stores, int], object], check: Callable[[Path, int, bool], bool]
) -> dict[str, int]:
    """Kills before call 1, 2, ... until the writer ends first; how it went."""
    kills = acknowledged = there = 0
    for number in range(1, MOST_CALLS):
        home = folder / "home"
        shutil.copytree(folder / "template", home)
        child = start(lambda say, home=home: _write(home, write, say))
        killed = kill_before_call(child.pid, number)
        child.exit_code = 0
        said = "stored" in child.end()
        there += call(lambda home=home, number=number, said=said: check(home, number, said))
        acknowledged += said
        kills += killed
        shutil.rmtree(home)
        if not killed:
            assert said, "the writer that was left alone failed"
            return {"kills": kills, "acknowledged": acknowledged, "there": there}
    raise AssertionError(f"the writer made {MOST_CALLS} system calls and went on")


def _write(home: Path, write: Callable[[Stores, int], object], say: Say) -> None:
    with homes.opened(home) as stores:
        stop_to_be_traced()
        write(stores, TRACED)
        say("stored")


def _check_publish(home: Path, number: int, acknowledged: bool) -> bool:
    """Every other time the strays are swept before the same is published again."""
    with homes.opened(home) as stores:
        rows = homes.check_adapters(stores, [BEFORE, TRACED] if acknowledged else [BEFORE])
        is_there = homes.adapter_id(TRACED) in rows
        if number % 2:
            homes.check_swept(stores)
        homes.publish_again(stores, TRACED, is_there=is_there)
        homes.check_adapters(stores, [BEFORE, TRACED])
        homes.check_swept(stores)
        homes.check_adapters(stores, [BEFORE, TRACED])
        homes.check_database(stores)
    return is_there


def _check_record(home: Path, _number: int, acknowledged: bool) -> bool:
    with homes.opened(home) as stores:
        found = homes.check_trajectories(stores, [BEFORE, TRACED] if acknowledged else [BEFORE])
        homes.record_again(stores, TRACED, is_there=found == 2)
        assert homes.check_trajectories(stores, [BEFORE, TRACED]) == 2
        homes.check_database(stores)
    return found == 2


if __name__ == "__main__":
    main()
