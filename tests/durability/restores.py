"""Kill a restore between its system calls: the home holds the old state or the new one, whole.

    python restores.py --step 29       (with this checkout and its tests on PYTHONPATH)

Kills before every STEP-th call, and before every second one where the old state gives way to
the new one; each in a home of its own. Prints what it did as JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import homes
from forks import Say, call, import_for, start
from traced import kill_before_call, stop_to_be_traced, why_unavailable

from rune_engine.backup import make_backup, restore_backup
from rune_engine.config import load_config

OLD, BOTH, NEW = 0, 1, 2
"""What the old state holds, what both do, and what the backup holds."""

FINE = 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", type=int, default=29)
    step = parser.parse_args().step
    if reason := why_unavailable():
        print(json.dumps({"unavailable": reason}))
        return
    with homes.scratch() as folder:
        import_for(lambda: _prepare(folder))
        last_old, number, state = 1, 1, "old"
        found = {"kills": 0, "old": 0, "new": 0}
        while state != "unharmed":
            state = _kill_before(folder, number, found)
            last_old = number if state == "old" else last_old
            number += step
        # Where the one gives way to the other is looked at more closely.
        for number in range(last_old + FINE, last_old + step, FINE):
            _kill_before(folder, number, found)
    print(json.dumps(found))


def _kill_before(folder: Path, number: int, found: dict[str, int]) -> str:
    """The state that is left: old, new, or the new one of a restore that ended first."""
    home = folder / "home"
    shutil.copytree(folder / "old", home)
    child = start(lambda say: _restore(folder, home, say))
    killed = kill_before_call(child.pid, number)
    child.exit_code = 0
    said = "restored" in child.end()
    assert killed or said, "the restore that was left alone failed"
    state: str = call(lambda: _check(folder, home, said))
    shutil.rmtree(home)
    found["kills"] += killed
    found[state] += killed
    return state if killed else "unharmed"


def _prepare(folder: Path) -> None:
    for name, numbers in (("new", (BOTH, NEW)), ("old", (OLD, BOTH))):
        with homes.opened(folder / name) as stores:
            for number in numbers:
                homes.publish(stores, number)
                homes.record(stores, number)
    make_backup(load_config(home=folder / "new"), folder / "backup.tar")


def _restore(folder: Path, home: Path, say: Say) -> None:
    config = load_config(home=home)
    stop_to_be_traced()
    restore_backup(config, folder / "backup.tar", replace=True)
    say("restored")


def _check(folder: Path, home: Path, acknowledged: bool) -> str:
    """Which state it is in; after that the same restore succeeds."""
    with homes.opened(home) as stores:
        ids = {adapter.id for adapter in stores.registry.list_all()}
        state = "new" if homes.adapter_id(NEW) in ids else "old"
        _whole(stores, (OLD, BOTH) if state == "old" else (BOTH, NEW))
    assert state == "new" or not acknowledged
    restore_backup(load_config(home=home), folder / "backup.tar", replace=True)
    with homes.opened(home) as stores:
        _whole(stores, (BOTH, NEW))
    assert not list(home.glob("restore-*"))
    return state


def _whole(stores: homes.Stores, numbers: tuple[int, int]) -> None:
    assert len(homes.check_adapters(stores, list(numbers))) == 2
    assert homes.check_trajectories(stores, list(numbers)) == 2
    homes.check_database(stores)


if __name__ == "__main__":
    main()
