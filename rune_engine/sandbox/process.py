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
from typing import Any

from rune_engine.config import SandboxLimits
from rune_engine.sandbox.tiers import Tier, environment

_CHUNK = 64 * 1024
_LONGEST_REPORT = 1024 * 1024
_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    `ready` is whether the walls stood and the candidate was started; `exit_code` is its own
    (minus the signal's number where one ended it), None when unknown; `report` is what it wrote
    to the verdict pipe.
    """

    ready: bool
    exit_code: int | None
    cpu_seconds: float
    report: bytes
    stdout: str
    stderr: str
    wall_seconds: float
    timed_out: bool
    flooded: bool


class CappedOutput:
    """Keeps the head and the tail of a stream, and counts what it left out.

    `flooded` is whether more was printed than is worth reading.
    """

    def __init__(self, keep_bytes: int, flood_bytes: int) -> None:
        self._half = keep_bytes // 2
        self._flood = flood_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        self._total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: -self._half or None]

    @property
    def flooded(self) -> bool:
        return self._total > self._flood

    def text(self) -> str:
        left_out = self._total - len(self._head) - len(self._tail)
        note = f"\n... {left_out} bytes left out ...\n".encode() if left_out else b""
        return bytes(self._head + note + self._tail).decode("utf-8", "replace")


class _Pipe:
    """A pipe whose writing end the child inherits."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        os.set_blocking(self._read, False)
        self._open = [self._read, self.write]

    def drain(self) -> bytes:
        """What has been written so far, up to the longest report."""
        data = b""
        with suppress(BlockingIOError):
            while len(data) < _LONGEST_REPORT and (more := os.read(self._read, _CHUNK)):
                data += more
        return data

    def close(self) -> None:
        for handle in self._open:
            os.close(handle)


async def _read_all(
    process: asyncio.subprocess.Process, stream: asyncio.StreamReader, output: CappedOutput
) -> None:
    while data := await stream.read(_CHUNK):
        output.add(data)
        if output.flooded:
            _stop(process)


async def _feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    try:
        stream.write(data)
        await stream.drain()
        stream.close()
    except (BrokenPipeError, ConnectionResetError):
        return  # it died before it read; its stderr says why


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
    tier: Tier, request: dict[str, Any], workspace: Path | None, limits: SandboxLimits
) -> Ended:
    """Run `request` (candidate, tests, to_call, secret) inside `tier`.

    Raises:
        OSError: the interpreter could not be started.
    """
    folder = str(workspace) if workspace is not None else None
    with tier.box() as box:
        payload = {
            **request,
            **tier.payload(box),
            "workspace": folder,
            "limits": limits.model_dump(),
        }
        status, verdict = _Pipe(), _Pipe()
        try:
            arguments = [str(status.write), str(verdict.write), str(os.getpid())]
            command = tier.command(box, folder, arguments)
            return await _watch(command, environment(box), payload, limits, status, verdict)
        finally:
            status.close()
            verdict.close()


async def _watch(
    command: list[str],
    variables: dict[str, str],
    payload: dict[str, Any],
    limits: SandboxLimits,
    status: _Pipe,
    verdict: _Pipe,
) -> Ended:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables,
        cwd="/",
        pass_fds=(status.write, verdict.write),
        start_new_session=True,
    )
    assert process.stdin and process.stdout and process.stderr
    out = CappedOutput(limits.output_bytes, limits.file_bytes)
    err = CappedOutput(limits.output_bytes, limits.file_bytes)
    timed_out = False
    try:
        async with asyncio.timeout(limits.wall_seconds), asyncio.TaskGroup() as group:
            group.create_task(_feed(process.stdin, marshal.dumps(payload)))
            group.create_task(_read_all(process, process.stdout, out))
            group.create_task(_read_all(process, process.stderr, err))
            group.create_task(process.wait())
    except TimeoutError:
        timed_out = True
    finally:
        await _end(process)
    ready, exit_code, cpu_seconds = _parse_status(status.drain(), process.returncode)
    return Ended(
        ready=ready,
        exit_code=exit_code,
        cpu_seconds=cpu_seconds,
        report=verdict.drain(),
        stdout=out.text(),
        stderr=err.text(),
        wall_seconds=time.monotonic() - began,
        timed_out=timed_out,
        flooded=out.flooded or err.flooded,
    )


def _parse_status(data: bytes, launcher_code: int | None) -> tuple[bool, int | None, float]:
    """(ready, exit code, CPU seconds) from "R" and "S <wait status> <seconds>"."""
    if not data.startswith(b"R"):
        return False, None, 0.0
    if data == b"R":
        # No first process that watches (macOS): the launcher itself became the candidate.
        return True, launcher_code, 0.0
    _, wait_status, cpu_seconds = data[1:].split()
    return True, os.waitstatus_to_exitcode(int(wait_status)), float(cpu_seconds)
