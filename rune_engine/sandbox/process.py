"""One isolated run seen from outside: start, read while it runs, end it, say what happened.

Knows no verdicts. Whatever happens here, cancellation included, no process is left behind.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rune_engine.config import SandboxLimits
from rune_engine.sandbox.output import CappedOutput, Pipe
from rune_engine.sandbox.tiers import Tier, environment

Profile = Literal["pure", "project"]
"""`pure`: no process can be made. `project`: fork and exec work, inside the run's own PID space."""

_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class ChildEnded:
    """How one child of a run ended.

    `exit_code` is minus the signal's number where one ended it; `report` is what it wrote to its
    verdict pipe (at most a megabyte), trusted in nothing.
    """

    exit_code: int
    cpu_seconds: float
    wall_seconds: float
    report: bytes


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    `ready` is whether the walls stood around every child that is told of; `children` are those
    that ended, in order.
    """

    ready: bool
    children: tuple[ChildEnded, ...]
    stdout: str
    stderr: str
    wall_seconds: float
    timed_out: bool
    flooded: bool


class _Streams:
    """The four pipes of a run, and what has come out of three of them."""

    def __init__(self, limits: SandboxLimits) -> None:
        self.payload = Pipe(we_read=False)
        self.stdout, self.stderr, self.status = (Pipe(we_read=True) for _ in range(3))
        self.out = CappedOutput(limits.output_bytes, limits.file_bytes)
        self.err = CappedOutput(limits.output_bytes, limits.file_bytes)
        self.told = bytearray()

    @property
    def _all(self) -> tuple[Pipe, ...]:
        return self.payload, self.stdout, self.stderr, self.status

    @property
    def flooded(self) -> bool:
        return self.out.flooded or self.err.flooded

    def hand_over(self) -> None:
        for pipe in self._all:
            pipe.hand_over()

    def close(self) -> None:
        for pipe in self._all:
            pipe.close()


def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask the launcher to end and reap everything below it."""
    with suppress(ProcessLookupError):
        process.terminate()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Stop the launcher; SIGKILL its group if it does not, or if we are cancelled meanwhile."""
    try:
        _stop(process)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        # Not to be cut short by another cancellation: the wait is bounded by the kill.
        await asyncio.shield(process.wait())


async def run_isolated(
    tier: Tier,
    request: dict[str, Any],
    workspace: Path | None,
    limits: SandboxLimits,
    profile: Profile = "pure",
) -> Ended:
    """Run `request` inside `tier`.

    Args:
        request: goes to the inside as it is. Read here: `candidate` (becomes solution.py),
            `children` (how many processes run it, one after the other; 1), `stop_early` (none
            after the first that a signal ended; False) and `hash_seed` (0).

    Raises:
        OSError: the interpreter could not be started.
    """
    folder = str(workspace) if workspace is not None else None
    with tier.box() as box:
        payload = {
            "children": 1,
            "stop_early": False,
            "hash_seed": 0,
            **request,
            **tier.payload(box),
            "workspace": folder,
            "limits": limits.model_dump(),
            "profile": profile,
        }
        streams = _Streams(limits)
        try:
            arguments = [str(streams.status.theirs), str(os.getpid())]
            command = tier.command(box, folder, arguments)
            variables = environment(box, payload["hash_seed"])
            return await _watch(command, variables, payload, limits, streams)
        finally:
            streams.close()


async def _watch(
    command: list[str],
    variables: dict[str, str],
    payload: dict[str, Any],
    limits: SandboxLimits,
    streams: _Streams,
) -> Ended:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=streams.payload.theirs,
        stdout=streams.stdout.theirs,
        stderr=streams.stderr.theirs,
        env=variables,
        cwd="/",
        pass_fds=(streams.status.theirs,),
        start_new_session=True,
    )
    timed_out = False

    def keep(output: CappedOutput, data: bytes) -> None:
        output.add(data)
        if output.flooded:
            _stop(process)

    try:
        streams.hand_over()
        async with asyncio.timeout(limits.wall_seconds), asyncio.TaskGroup() as group:
            group.create_task(streams.payload.write_all(marshal.dumps(payload)))
            group.create_task(streams.stdout.read_all(lambda data: keep(streams.out, data)))
            group.create_task(streams.stderr.read_all(lambda data: keep(streams.err, data)))
            group.create_task(streams.status.read_all(streams.told.extend))
            group.create_task(process.wait())
    except TimeoutError:
        timed_out = True
    finally:
        await _end(process)
    ready, children = parse_status(bytes(streams.told))
    return Ended(
        ready=ready,
        children=children,
        stdout=streams.out.text(),
        stderr=streams.err.text(),
        wall_seconds=time.monotonic() - began,
        timed_out=timed_out,
        flooded=streams.flooded,
    )


def parse_status(data: bytes) -> tuple[bool, tuple[ChildEnded, ...]]:
    """(whether every child got ready, those that ended) from the records that the warden wrote.

    "R" is a child that is confined, "C" a length and a marshalled tuple one that has ended.
    """
    ready_children, children = 0, list[ChildEnded]()
    while data:
        kind, data = data[:1], data[1:]
        if kind == b"R":
            ready_children += 1
            continue
        size = int.from_bytes(data[:4], "big")
        body, data = data[4 : 4 + size], data[4 + size :]
        if len(body) < size or not size:
            break  # its writer was ended in the middle
        wait_status, cpu_seconds, wall_seconds, report = marshal.loads(body)
        code = os.waitstatus_to_exitcode(wait_status)
        children.append(ChildEnded(code, cpu_seconds, wall_seconds, report))
    return ready_children > 0 and ready_children >= len(children), tuple(children)
