"""`kill -9` at random moments of everything that writes, and what must hold when it is over.

    python kills.py --kills 500 --seed 0     (with this checkout and its tests on PYTHONPATH)

Prints what it did as JSON; a broken promise is an AssertionError. Delays are drawn over the time
that a round takes when nobody kills it, its start included, so that kills fall everywhere.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import backup_kills
import engines
import homes
from engines import Workload
from forks import Child, Say, call, start
from homes import Stores
from shares import SHARES

from rune_engine.config import RuneConfig

WRITERS = 2
"""So many write to one home at once: while one is killed the other goes on."""

OPERATIONS_A_ROUND = 3
"""A writer is killed before it has done about so many."""

MOST_STARTS = 2
"""A job that engines died over more often is given up, rightly: so it is spared."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills writers at random moments.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=SHARES, default=list(SHARES))
    options = parser.parse_args()
    report = {}
    for name in options.only:
        rng, share = random.Random(f"{options.seed} {name}"), SHARES[name]
        began = time.monotonic()
        with homes.scratch() as folder:
            report[name] = KINDS[name](folder, round(options.kills * share), rng)
        report[name]["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(report))


def _record(folder: Path, kills: int, rng: random.Random) -> dict[str, float]:
    home = folder / "home"
    acknowledged = _kill_writers(home, homes.record, kills, rng)

    def check() -> int:
        with homes.opened(home) as stores:
            homes.check_database(stores)
            return homes.check_trajectories(stores, acknowledged)

    return {"kills": kills, "acknowledged": len(acknowledged), "there": call(check)}


def _store(folder: Path, kills: int, rng: random.Random) -> dict[str, float]:
    home = folder / "home"
    acknowledged = _kill_writers(home, homes.publish, kills, rng)

    def check() -> int:
        with homes.opened(home) as stores:
            rows = homes.check_adapters(stores, acknowledged)
            homes.check_swept(stores)
            homes.check_database(stores)
            return len(rows)

    return {"kills": kills, "acknowledged": len(acknowledged), "there": call(check)}


def _archive(folder: Path, kills: int, rng: random.Random) -> dict[str, float]:
    home = folder / "home"
    acknowledged = _kill_writers(home, homes.publish_and_archive, kills, rng)

    def check() -> int:
        with homes.opened(home) as stores:
            rows = homes.check_adapters(stores, acknowledged)
            homes.check_archived(stores, acknowledged)
            homes.check_swept(stores)
            homes.check_database(stores)
            return len(rows)

    return {"kills": kills, "acknowledged": len(acknowledged), "there": call(check)}


def _distill(folder: Path, kills: int, rng: random.Random) -> dict[str, float]:
    model = folder / "tiny-base"
    call(lambda: engines.prepare_model(model))
    work = engines.distillations(folder, model)
    tally = _kill_engines(work, kills, rng, engines.check_distilled)
    return tally | {"trainings": len((model / "trained").read_text(encoding="utf-8").split())}


def _run_task(folder: Path, kills: int, rng: random.Random) -> dict[str, float]:
    return _kill_engines(engines.tasks(folder), kills, rng, engines.check_solved)


def _import(folder: Path, kills: int, rng: random.Random) -> dict[str, float]:
    return _kill_engines(engines.imports(folder), kills, rng, engines.check_imported)


# --- engines that are killed ----------------------------------------------------------------


def _kill_engines(
    work: Workload, kills: int, rng: random.Random, check: Callable[[RuneConfig], Any]
) -> dict[str, float]:
    """Kill so many engines of one home, then let one end all jobs."""
    longest = engines.begin(work)
    for number in range(1, kills + 1):
        if call(lambda: engines.most_starts(work.config)) >= MOST_STARTS:
            engines.end_all(work, number)
        call(lambda number=number: engines.top_up(work, number))
        engine = engines.start_engine(work.config, number)
        time.sleep(rng.uniform(0, longest))
        engine.kill()
        engine.end()
        assert engine.exit_code == -9, "the engine ended before it was killed; see its log"
    engines.end_all(work, kills + 1)
    ended = call(lambda: check(work.config))
    again = sum(job["attempt"] > 1 for job in ended)
    return {"kills": kills, "jobs": len(ended), "started_again": again}


# --- writers that are killed ----------------------------------------------------------------


def _kill_writers(
    home: Path, write: Callable[[Stores, int], object], kills: int, rng: random.Random
) -> set[int]:
    """The numbers of what the killed writers had been told to be stored."""
    fresh = count()
    call(lambda: homes.make(home))
    longest = min(_seconds_of_a_round(home, write, fresh) for _ in range(3))
    acknowledged: set[int] = set()
    for first in range(0, kills, WRITERS):
        writers = [
            _start_writer(home, write, next(fresh)) for _ in range(min(WRITERS, kills - first))
        ]
        _kill_in_turn(writers, sorted(rng.uniform(0, longest) for _ in writers))
        for writer in writers:
            acknowledged.update(int(line) for line in writer.end())
            assert writer.exit_code == -9, "a writer ended before it was killed"
    return acknowledged


def _start_writer(home: Path, write: Callable[[Stores, int], object], writer: int) -> Child:
    def work(say: Say) -> None:
        with homes.opened(home) as stores:
            for number in _numbers_of(writer):
                write(stores, number)
                say(str(number))

    return start(work)


def _numbers_of(writer: int) -> Iterator[int]:
    """Numbers that no other writer uses."""
    return count(writer * 1_000_000)


def _seconds_of_a_round(
    home: Path, write: Callable[[Stores, int], object], fresh: Iterator[int]
) -> float:
    """How long new writers take for what they usually do before they are killed."""
    began = time.monotonic()
    writers = [_start_writer(home, write, next(fresh)) for _ in range(WRITERS)]
    for _ in range(OPERATIONS_A_ROUND):
        for writer in writers:
            assert writer.line(), "a writer failed before anybody killed it"
    seconds = time.monotonic() - began
    for writer in writers:
        writer.kill()
        writer.end()
    return seconds


def _kill_in_turn(writers: list[Child], delays: list[float]) -> None:
    began = time.monotonic()
    for writer, delay in zip(writers, delays, strict=True):
        time.sleep(max(0.0, began + delay - time.monotonic()))
        writer.kill()


KINDS = {
    "record": _record,
    "store": _store,
    "archive": _archive,
    "distill": _distill,
    "run_task": _run_task,
    "import": _import,
    "backup": backup_kills.backup,
    "restore": backup_kills.restore,
}


if __name__ == "__main__":
    main()
