"""One isolated run seen from outside: start, read while it runs, end it, say what happened.

Knows no verdicts. Whatever happens here, cancellation included, no process is left behind.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rune_engine.config import SandboxLimits
from rune_engine.sandbox.output import CappedOutput, Pipe
from rune_engine.sandbox.tiers import Tier
from rune_engine.sandbox.zygote import RunProcess, Status, Zygote, give_back, take

Profile = Literal["pure", "project"]
"""`pure`: no process can be made. `project`: fork and exec work, inside the run's own PID space."""

_ANSWER_SECONDS = 15.0
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class ChildEnded:
    """How one child of a run ended.

    `exit_code` is minus the signal's number where one ended it; `report` is what it wrote to its
    verdict pipe (at most a megabyte), trusted in nothing; `outgrown` is whether it was ended
    because the processes that it started held too much memory together with it.
    """

    exit_code: int
    cpu_seconds: float
    wall_seconds: float
    report: bytes
    outgrown: bool = False


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
    """What connects a run with the engine, and what has come out of it."""

    def __init__(self, limits: SandboxLimits) -> None:
        self.payload = Pipe(we_read=False)
        self.stdout, self.stderr = Pipe(we_read=True), Pipe(we_read=True)
        self.status = Status()
        self.out = CappedOutput(limits.output_bytes, limits.file_bytes)
        self.err = CappedOutput(limits.output_bytes, limits.file_bytes)

    @property
    def flooded(self) -> bool:
        return self.out.flooded or self.err.flooded

    def handles(self) -> list[int]:
        theirs = [pipe.theirs for pipe in (self.payload, self.stdout, self.stderr)]
        return [*theirs, self.status.theirs.fileno()]

    def hand_over(self) -> None:
        for end in (self.payload, self.stdout, self.stderr, self.status):
            end.hand_over()

    def close(self) -> None:
        for end in (self.payload, self.stdout, self.stderr, self.status):
            end.close()


class _Attempt:
    """One run in one zygote, from the request until nothing of it is left."""

    def __init__(self, zygote: Zygote, payload: bytes, limits: SandboxLimits) -> None:
        self._zygote = zygote
        self._payload = payload
        self._limits = limits
        self._streams = _Streams(limits)
        self._timed_out = False
        self.silent = False

    async def result(self) -> Ended:
        """How it ended; `ready` is False where the zygote died or did not answer."""
        began = time.monotonic()
        try:
            if self._zygote.submit(self._streams.handles()):
                self._streams.hand_over()
                await self._watch()
        finally:
            # Not to be cut short by another cancellation: its waits are bounded.
            await asyncio.shield(asyncio.create_task(self._finish()))
        ready, children = parse_status(bytes(self._streams.status.records))
        return Ended(
            ready=ready,
            children=children,
            stdout=self._streams.out.text(),
            stderr=self._streams.err.text(),
            wall_seconds=time.monotonic() - began,
            timed_out=self._timed_out,
            flooded=self._streams.flooded,
        )

    def complete(self, ended: Ended, children: int) -> bool:
        """Whether nothing but the run itself, or we, ended it."""
        by_itself = ended.ready and bool(ended.children)
        stopped = by_itself and ended.children[-1].exit_code < 0
        whole = by_itself and (len(ended.children) == children or stopped)
        return whole or ended.timed_out or ended.flooded

    async def _watch(self) -> None:
        streams = self._streams
        process = await self._started()
        if process is None:
            return

        def keep(output: CappedOutput, data: bytes) -> None:
            output.add(data)
            if output.flooded:
                process.kill()

        try:
            async with asyncio.timeout(self._limits.wall_seconds), asyncio.TaskGroup() as group:
                group.create_task(streams.payload.write_all(self._payload))
                group.create_task(streams.stdout.read_all(lambda data: keep(streams.out, data)))
                group.create_task(streams.stderr.read_all(lambda data: keep(streams.err, data)))
                group.create_task(streams.status.read_all())
                group.create_task(process.ended())
        except TimeoutError:
            self._timed_out = True

    async def _started(self) -> RunProcess | None:
        try:
            # Not `wait_for`, which before Python 3.12 can lose a cancellation.
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._streams.status.started()
        except TimeoutError:
            self.silent = True
            return None

    async def _finish(self) -> None:
        """End what still runs, and close what is open."""
        try:
            self._streams.hand_over()
            process = None if self.silent else await self._started()
            if process is not None:
                process.kill()
                async with asyncio.timeout(_GRACE_SECONDS):
                    await process.ended()
        except TimeoutError:
            self.silent = True
        finally:
            self._streams.close()


async def run_isolated(
    tier: Tier,
    request: dict[str, Any],
    workspace: Path | None,
    limits: SandboxLimits,
    profile: Profile = "pure",
) -> Ended:
    """Run `request` inside `tier`; warm where its hash seed is 0, cold where that fails.

    Args:
        request: goes to the inside as it is. Read here: `candidate` (becomes solution.py),
            `children` (how many processes run it, one after the other; 1), `stop_early` (none
            after the first that a signal ended; False) and `hash_seed` (0).

    Raises:
        OSError: the interpreter could not be started.
    """
    with tier.box() as box:
        payload = {
            "children": 1,
            "stop_early": False,
            "hash_seed": 0,
            **request,
            "box": box,
            "workspace": str(workspace) if workspace is not None else None,
            "limits": limits.model_dump(),
            "profile": profile,
        }
        if payload["hash_seed"] == 0:
            ended = await _warm(tier, payload, limits)
            if ended is not None:
                return ended
        return await run_cold(tier, payload, limits)


async def _warm(tier: Tier, payload: dict[str, Any], limits: SandboxLimits) -> Ended | None:
    """None where the zygote, not the run, is to blame for there being no result."""
    zygote, broken = take(tier), True
    try:
        attempt = _Attempt(zygote, marshal.dumps(payload), limits)
        ended = await attempt.result()
        broken = attempt.silent or not zygote.alive()
        return ended if attempt.complete(ended, payload["children"]) else None
    except asyncio.CancelledError:
        broken = False
        raise
    finally:
        give_back(zygote, broken=broken)


async def run_cold(tier: Tier, payload: dict[str, Any], limits: SandboxLimits) -> Ended:
    """Run in an interpreter that was started for this alone."""
    zygote = Zygote(tier, preload=False, hash_seed=payload["hash_seed"])
    try:
        ended = await _Attempt(zygote, marshal.dumps(payload), limits).result()
        return ended if ended.ready else replace(ended, stderr=zygote.said() + ended.stderr)
    finally:
        await asyncio.shield(asyncio.create_task(zygote.aclose()))


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
        wait_status, *rest = marshal.loads(body)
        children.append(ChildEnded(os.waitstatus_to_exitcode(wait_status), *rest))
    return ready_children > 0 and ready_children >= len(children), tuple(children)
