"""`kill -9` of backups and restores: a home is the former or the restored one, never between.

Each kill has a home of its own, copied from a prepared one that was written to after its backup
was made; what was killed is done again afterwards and succeeds.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import homes
from forks import Child, call, start, void

from rune_engine.backup import make_backup, restore_backup
from rune_engine.config import load_config

SAVED, LATER = range(3), range(3, 5)
"""What the home held when its backup was made, and what was written after."""


def backup(folder: Path, kills: int, rng: random.Random) -> dict[str, float]:
    """A backup whose name is there is whole; one that was killed is made again."""
    template = _prepare(folder)
    home, target = folder / "home", folder / "made" / "home.tar"
    complete = 0

    def make(folder: Path = home) -> None:
        void(make_backup(load_config(home=folder), target))

    def again() -> bool:
        """Whether the backup that was killed is there; made again if it is not."""
        there = target.exists()
        if not there:
            make()
        _check_restored(target, folder / "elsewhere", [*SAVED, *LATER])
        with homes.opened(home) as stores:
            _check_home(stores, [*SAVED, *LATER])
        return there

    longest = _seconds(lambda: make(template), target.parent)
    for _ in range(kills):
        _fresh(template, home, target.parent, folder / "elsewhere")
        _kill_at(start(lambda _say: make()), rng.uniform(0, 1.25 * longest))
        complete += call(again)
    return {"kills": kills, "complete": complete}


def restore(folder: Path, kills: int, rng: random.Random) -> dict[str, float]:
    """A restore that is killed leaves the home as it was, or as the backup was."""
    template = _prepare(folder)
    home, source = folder / "home", folder / "saved.tar"
    restored = 0

    def put_back(folder: Path = home) -> None:
        void(restore_backup(load_config(home=folder), source, replace=True))

    def again() -> bool:
        """Whether the home is the restored one; it is after the restore is repeated."""
        there = _is_restored(home)
        put_back()
        assert _is_restored(home), "the restore that was repeated has not restored"
        with homes.opened(home) as stores:
            homes.check_swept(stores)
        return there

    shutil.copytree(template, home)
    longest = _seconds(put_back, None)
    for _ in range(kills):
        _fresh(template, home)
        _kill_at(start(lambda _say: put_back()), rng.uniform(0, 1.25 * longest))
        restored += call(again)
    return {"kills": kills, "complete": restored}


def _prepare(folder: Path) -> Path:
    """A home that has a backup, `saved.tar`, and was written to since."""
    template = folder / "template"

    def write() -> None:
        _write(template, SAVED)
        make_backup(load_config(home=template), folder / "saved.tar")
        _write(template, LATER)

    call(write)
    return template


def _write(home: Path, numbers: range) -> None:
    with homes.opened(home) as stores:
        for number in numbers:
            homes.publish(stores, number)
            homes.record(stores, number)


def _seconds(work: Callable[[], None], folder: Path | None) -> float:
    """How long it takes in a process that does nothing else."""
    if folder is not None:
        folder.mkdir()
    began = time.monotonic()
    call(work)
    return time.monotonic() - began


def _fresh(template: Path, home: Path, *emptied: Path) -> None:
    for path in (home, *emptied):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(template, home)
    for path in emptied:
        path.mkdir()


def _kill_at(child: Child, delay: float) -> None:
    time.sleep(delay)
    child.kill()
    child.end()
    assert child.exit_code in (0, -9), "it failed before it was killed"


def _check_home(stores: homes.Stores, numbers: list[int]) -> None:
    """Exactly these adapters and trajectories, whole."""
    assert len(homes.check_adapters(stores, numbers)) == len(numbers)
    assert homes.check_trajectories(stores, numbers) == len(numbers)
    homes.check_database(stores)


def _check_restored(source: Path, home: Path, numbers: list[int]) -> None:
    """A backup brings all of it to an empty home."""
    restore_backup(load_config(home=home), source)
    with homes.opened(home) as stores:
        _check_home(stores, numbers)


def _is_restored(home: Path) -> bool:
    """Whether it is as the backup was; otherwise it is as before."""
    with homes.opened(home) as stores:
        restored = len(stores.registry.list_all()) == len(SAVED)
        _check_home(stores, [*SAVED] if restored else [*SAVED, *LATER])
    return restored
