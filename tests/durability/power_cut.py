"""A power cut on a disk of our own: what was acknowledged is there when the power is back.

    unshare --mount python power_cut.py     (as root; this checkout and its tests on PYTHONPATH)

A file in a scratch folder is mounted through a loop device, written to, and shut down by the
kernel's own means for such tests (FS_IOC_SHUTDOWN), which loses what was not flushed: with the
journal flushed a last time (LOGFLUSH) names survive their contents, without (NOLOGFLUSH) neither
does. Beside the stores a file is written that nobody flushes: it must be lost, or the cut was none.
Prints what it did as JSON, or why it cannot be done here.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import engines
import homes
from forks import Child, Say, call, start
from homes import Stores

from rune_engine.errors import StorageError
from rune_engine.jobs.store import JobStore
from rune_engine.models import RunTaskParams

SHUTDOWN = 0x8004587D
CUTS = {"LOGFLUSH": 1, "NOLOGFLUSH": 2}
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
IMAGE_BYTES = 320 * 1024**2  # xfs takes no less than 300 MiB
CONTROL = b"nobody flushes this"
LONGEST_SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Cuts the power under the stores.")
    parser.add_argument("--cuts", type=int, default=2, help="of each kind and file system")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="rune-power-") as folder:
        if reason := why_unavailable(Path(folder)):
            print(json.dumps({"unavailable": reason}))
            return
        with homes.scratch():  # imports what the forks need
            pass
        for kind in (name for name, command in MAKE.items() if shutil.which(command[0])):
            for cut in CUTS:
                for round_number in range(options.cuts):
                    name = f"{kind}-{cut}-{round_number}"
                    with a_disk(Path(folder) / name, kind) as disk:
                        stores = _cut_stores(disk, cut, rng)
                        report[name] = stores | _cut_engine(disk, cut, rng)
    print(json.dumps(report))


class Disk:
    """A small file system in a file, mounted at `root` by whoever calls `mount`."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.root, self._image = folder, folder / "root", folder / "image"
        self.root.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run([*MAKE[kind], str(self._image)], check=True, stdout=subprocess.DEVNULL)

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.root)], check=True)

    def cut(self, kind: str) -> None:
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", CUTS[kind]))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Let go of it, once those who were killed are gone."""
        command = ["umount", str(self.root)]
        homes.wait_until(
            lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0,
            "nobody uses the disk",
        )

    def power_returns(self) -> None:
        self.unmount()
        self.mount()


@contextmanager
def a_disk(folder: Path, kind: str) -> Iterator[Disk]:
    """A mounted disk; nothing of it is left after the block."""
    disk = Disk(folder, kind)
    disk.mount()
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk.root)], check=False)
        shutil.rmtree(folder)


def why_unavailable(folder: Path) -> str | None:
    """Why the power cannot be cut here; None when it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "mounting a disk needs root"
    if not any(shutil.which(command[0]) for command in MAKE.values()):
        return "there is neither mkfs.ext4 nor mkfs.xfs"
    try:
        kind = next(name for name, command in MAKE.items() if shutil.which(command[0]))
        with a_disk(folder / "probe", kind) as disk:
            disk.cut("NOLOGFLUSH")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"a loop device cannot be mounted and shut down here ({error})"
    return None


# --- the stores -----------------------------------------------------------------------------


def _cut_stores(disk: Disk, cut: str, rng: random.Random) -> dict[str, int]:
    """Four writers at once; the counts of what they were told to be stored."""
    home = disk.root / "home"
    writers = {
        "trajectories": _start(home, homes.record, 0),
        "adapters": _start(home, homes.publish, 1_000_000),
        "archives": _start(home, homes.publish_and_archive, 2_000_000),
        "jobs": _start(home, _do_a_job, 3_000_000),
    }
    for writer in writers.values():
        assert writer.line() == "first", "a writer failed before the cut"
    time.sleep(rng.uniform(0, LONGEST_SECONDS))
    (disk.root / "control").write_bytes(CONTROL)
    before = {name: [int(line) for line in writer.so_far()] for name, writer in writers.items()}
    disk.cut(cut)
    later = {name: _said(writer) for name, writer in writers.items()}
    said = {name: before[name] + later[name] for name in writers}
    disk.power_returns()
    with suppress(FileNotFoundError):
        assert (disk.root / "control").read_bytes() != CONTROL, "the cut has lost nothing"
    try:
        call(lambda: _check(home, said))
    except AssertionError as error:
        raise AssertionError(f"{error}; said since the {cut} cut began: {later}") from error
    return {name: len(acknowledged) for name, acknowledged in said.items()}


def _start(home: Path, write: Callable[[Stores, int], object], first: int) -> Child:
    def work(say: Say) -> None:
        with homes.opened(home) as stores:
            for number in count(first):
                write(stores, number)
                say("first" if number == first else str(number))

    return start(lambda say: _quietly(lambda: work(say)))


def _quietly(work: Callable[[], None]) -> None:
    """That its disk is gone is said to a writer clearly, and expected."""
    with suppress(StorageError):
        work()


def _said(writer: Child) -> list[int]:
    with suppress(ProcessLookupError):
        writer.kill()
    said = [int(line) for line in writer.end()]
    assert writer.exit_code in (0, -9), "a writer was not told that its disk is gone"
    return said


def _do_a_job(stores: Stores, number: int) -> None:
    jobs = JobStore(stores.database)
    jobs.enqueue("run_task", RunTaskParams(task_description=str(number)))
    job = jobs.claim("writer")
    assert job is not None
    jobs.succeed(job, {})


def _check(home: Path, said: dict[str, list[int]]) -> bool:
    with homes.opened(home) as stores:
        homes.check_trajectories(stores, said["trajectories"])
        homes.check_adapters(stores, [*said["adapters"], *said["archives"]])
        homes.check_archived(stores, said["archives"])
        done = {one.params["task_description"] for one in _finished(stores)}
        assert {str(number) for number in said["jobs"]} <= done, "a finished job is lost"
        homes.check_swept(stores)
        homes.check_database(stores)
    return True


def _finished(stores: Stores) -> Iterator[Any]:
    jobs, offset = JobStore(stores.database), 0
    while page := jobs.newest(500, offset=offset, status="succeeded"):
        yield from page
        offset += len(page)


# --- an engine that distills ----------------------------------------------------------------


def _cut_engine(disk: Disk, cut: str, rng: random.Random) -> dict[str, int]:
    """The power goes while an engine distills; the next one ends every job that was queued."""
    model = disk.folder / "tiny-base"
    call(lambda: engines.prepare_model(model))
    (disk.root / "engine").mkdir()
    work = engines.distillations(disk.root / "engine", model)
    longest = engines.begin(work)
    call(lambda: engines.top_up(work, 1))
    engine = engines.start_engine(work.config, 1)
    time.sleep(rng.uniform(0, longest))
    disk.cut(cut)
    engine.kill()
    engine.end()
    disk.power_returns()
    engines.end_all(work, 2)
    return {"distillations": len(call(lambda: engines.check_distilled(work.config)))}


if __name__ == "__main__":
    main()
