"""A disk that fills while trajectories and jobs are written: an error each, and nothing is lost.

    unshare --user --map-root-user --mount python full_disk.py FOLDER

Mounts a file system of 2 MiB at FOLDER that nobody else sees. Prints what it did as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import homes
from homes import Stores

from rune_engine.errors import DiskFullError
from rune_engine.jobs.store import JobStore
from rune_engine.models import RunTaskParams

MOST = 100_000
SPARE_BYTES = 400_000


def main() -> None:
    folder = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], check=True)
    spare = folder / "spare"
    spare.write_bytes(b"\0" * SPARE_BYTES)
    with homes.opened(folder / "home") as stores:
        recorded = _until_full(lambda number: homes.record(stores, number))
        queued = _until_full(lambda number: _queue(stores, number))
        homes.check_trajectories(stores, range(recorded))
    with homes.opened(folder / "home") as stores:
        spare.unlink()
        homes.record(stores, MOST)
        assert homes.check_trajectories(stores, [*range(recorded), MOST]) == recorded + 1
        assert len(JobStore(stores.database).unfinished()) == queued
        homes.check_database(stores)
    print(json.dumps({"recorded": recorded, "queued": queued}))


def _queue(stores: Stores, number: int) -> None:
    task = RunTaskParams(task_description=f"Task {number} {'x' * 2000}")
    JobStore(stores.database).enqueue("run_task", task)


def _until_full(write: Callable[[int], object]) -> int:
    """How often it was written before the disk was full, which is said each time."""
    for number in range(MOST):
        try:
            write(number)
        except DiskFullError as error:
            assert error.next_step
            return number
    raise AssertionError("the disk never was full")


if __name__ == "__main__":
    main()
