"""The trusted process within the walls: starts a run's children one by one and reports each.

Knows no mechanism: what confines a child, and what sweeps away what it left, is given to it as
`Walls`. A child holds two pipes: the status pipe until it is confined, when it writes "R" (ready)
and closes it, and a verdict pipe of its own. The warden writes one record per ended child.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import sys
import time

from rune_engine.sandbox.inside import handles, runner

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_LONGEST_REPORT = 1024 * 1024
_CHUNK = 64 * 1024


class Walls:
    """What a mechanism gives the warden.

    `box` is the working folder, `folders` are where the workspace's packages are, `confine` is
    called in a child and never undone, `sweep` in the warden between two children. `watch`, where
    a run may make processes, says in how many seconds to call it again, or None where they hold
    more memory than they may.
    """

    def __init__(
        self,
        box: str,
        folders: list[str],
        confine: Callable[[], None],
        sweep: Callable[[], None],
        watch: Callable[[], float | None] | None = None,
    ) -> None:
        self.box = box
        self.folders = folders
        self.confine = confine
        self.sweep = sweep
        self.watch = watch


def oversee(payload: dict[str, Any], status: int, walls: Walls) -> NoReturn:
    """Run every child that `payload` asks for, then end this process."""
    for index in range(payload["children"]):
        if index:
            walls.sweep()
        wait_status = _run_child(payload, status, walls, index)
        if payload["stop_early"] and os.WIFSIGNALED(wait_status):
            break
    os._exit(0)


def _run_child(payload: dict[str, Any], status: int, walls: Walls, index: int) -> int:
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become_child(payload, status, writing, walls, index)
    os.close(writing)
    report, outgrown = _read_until_dead(reading, child, walls.watch)
    _, wait_status, usage = os.wait4(child, 0)
    os.close(reading)
    wall_seconds, cpu_seconds = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    _write_all(status, _record((wait_status, cpu_seconds, wall_seconds, report, outgrown)))
    return wait_status


def _record(ended: tuple[int, float, float, bytes, bool]) -> bytes:
    body = marshal.dumps(ended)
    return b"C" + len(body).to_bytes(4, "big") + body


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _read_until_dead(
    reading: int, child: int, watch: Callable[[], float | None] | None
) -> tuple[bytes, bool]:
    """What `child` wrote, its first megabyte, and whether it and what it started were ended
    because of their memory. Others may hold the pipe open when it is dead."""
    report = bytearray()
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    if sys.platform == "linux":
        death = os.pidfd_open(child)
        poll.register(death, select.POLLIN)
    else:
        death = -1  # there, no child can make another that would hold the pipe
    dead = closed = outgrown = False
    os.set_blocking(reading, False)
    while not (dead or (closed and death < 0)):
        wait = None if watch is None or outgrown else watch()
        if watch is not None and wait is None and not outgrown:
            outgrown = True
            os.kill(-1, signal.SIGKILL)  # everything in the namespace but its first process
        ready = [handle for handle, _ in poll.poll(wait and wait * 1000)]
        dead = death in ready
        if not closed and (reading in ready or dead):
            closed = _take(reading, report)
            if closed:
                poll.unregister(reading)
    if death >= 0:
        os.close(death)
    return bytes(report), outgrown


def _take(reading: int, report: bytearray) -> bool:
    """Read what is there, up to what a dead child can have left; returns whether it was closed."""
    for _ in range(_LONGEST_REPORT // _CHUNK):
        try:
            data = os.read(reading, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            return True
        report += data[: _LONGEST_REPORT - len(report)]
    return False


def _become_child(
    payload: dict[str, Any], status: int, verdict: int, walls: Walls, index: int
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    handles.close_all_but(status, verdict)
    os.chdir(walls.box)
    runner.prepare(payload, walls.folders, walls.confine)
    walls.confine()
    os.write(status, b"R")
    os.close(status)
    runner.run(payload, walls.folders, verdict, index)
    os._exit(0)


def empty(folder: str) -> None:
    """Delete everything in `folder`, however deep and whatever its permissions.

    Sub-folders are first moved up, so that no path is longer than two names.
    """
    moved = 0
    while names := os.listdir(folder):
        for name in names:
            path = f"{folder}/{name}"
            if os.path.islink(path) or not os.path.isdir(path):
                os.unlink(path)
                continue
            os.chmod(path, 0o700)
            for inner in os.listdir(path):
                deeper = f"{path}/{inner}"
                if os.path.islink(deeper) or not os.path.isdir(deeper):
                    os.unlink(deeper)
                else:
                    moved += 1
                    os.chmod(deeper, 0o700)
                    os.rename(deeper, f"{folder}/.swept-{os.getpid()}-{moved}")
            os.rmdir(path)
