"""Runs a trainer as a subprocess and reads its JSON lines.

The trainer holds the other end of its stdin: it ends itself when the engine dies. Knows nothing
of training, trajectories or the registry.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rune_engine.errors import TrainerDiedError, TrainingError, from_envelope
from rune_engine.jobs.progress import Report
from rune_engine.models import Model, TrainerJob, TrainerResult
from rune_engine.privacy import redact
from rune_engine.starter import child_environment

Answer = TypeVar("Answer", bound=Model)
TRAINER = (sys.executable, "-P", "-m", "trainers")

TRAINER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "0",
}
"""Waiting threads sleep: threads that spin beside other work take ten times as long."""

_POLITE_NICENESS = 10
_LONGEST_LINE = 1024 * 1024
_LOG_CHUNK = 64 * 1024
_TAIL_BYTES = 2000
_TERM_SECONDS = 3.0
_EXIT_SECONDS = 15.0
_POLL_SECONDS = 0.05


class Trainers:
    """Starts trainers.

    Args:
        command: what to start; the job file's path is added to it.
    """

    def __init__(self, command: Sequence[str] = TRAINER) -> None:
        self._command = tuple(command)

    async def train(
        self, job: TrainerJob, folder: Path, report: Report, *, polite: bool = False
    ) -> TrainerResult:
        """Carry a distillation out, see `carry_out`."""
        return await self.carry_out(job, TrainerResult, folder, report, polite=polite)

    async def carry_out(
        self,
        job: Model,
        answer: type[Answer],
        folder: Path,
        report: Report,
        *,
        polite: bool = False,
    ) -> Answer:
        """Run a trainer until it reports its result; `folder` gets its job file and its log.

        A `polite` trainer leaves the processor to whoever else wants it. Cancelling ends the
        trainer and everything it started.

        Raises:
            TrainerDiedError: a signal ended the trainer; it may be started again.
            TrainingError: it ended without a result, or did not keep to the protocol.
            RuneError: the error that the trainer reported.
        """
        job_file = folder / "job.json"
        job_file.write_text(job.model_dump_json(indent=1), encoding="utf-8")
        stderr = folder / "trainer.log"
        process = await asyncio.create_subprocess_exec(
            *self._command,
            str(job_file),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=folder,
            env=child_environment() | TRAINER_ENVIRONMENT,
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        if polite:
            _give_way(process.pid)
        watching = asyncio.create_task(_end_group_with_leader(process))
        logging = asyncio.create_task(_keep_log(process, stderr))
        try:
            last = await _last_event(process, report)
            if last is None:
                exit_code = await _exit_code(process)
                await asyncio.wait([logging], timeout=_EXIT_SECONDS)
                raise _died(exit_code, stderr)
            with suppress(TimeoutError):
                await asyncio.wait_for(_exit_code(process), _EXIT_SECONDS)
        finally:
            watching.cancel()
            await _end(process)
            await asyncio.wait([logging], timeout=_EXIT_SECONDS)
            logging.cancel()
        return _result(last, answer)


def _give_way(pid: int) -> None:
    # Before it has any thread: a thread inherits this at its start and keeps it.
    with suppress(ProcessLookupError):
        niceness = os.getpriority(os.PRIO_PROCESS, 0) + _POLITE_NICENESS
        os.setpriority(os.PRIO_PROCESS, pid, niceness)


async def _last_event(process: Process, report: Report) -> dict[str, Any] | None:
    """The trainer's `result` or `error`; None when its stdout closed without either."""
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            event = _event(line)
            if event.get("event") == "progress":
                report(float(event.get("fraction", 0.0)), str(event.get("message", "")))
            elif event.get("event") in ("result", "error"):
                return event
    except ValueError as error:
        raise TrainingError(
            f"The trainer's output is not in its protocol: {error}",
            next_step="This is a defect of the trainer; please report it.",
        ) from error
    return None


async def _keep_log(process: Process, path: Path) -> None:
    """Write what the trainer says on stderr to its log, without secrets, line by whole line."""
    assert process.stderr is not None
    with path.open("w", encoding="utf-8") as log:
        rest = b""
        while chunk := await process.stderr.read(_LOG_CHUNK):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > _LONGEST_LINE:
                whole, rest = rest, b""
            log.write(redact((whole + newline).decode("utf-8", "replace")).text)
            log.flush()
        log.write(redact(rest.decode("utf-8", "replace")).text)


def _event(line: bytes) -> dict[str, Any]:
    """One event; {} for a line that some library printed."""
    with suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict):
            return event
    return {}


def _result(event: dict[str, Any], answer: type[Answer]) -> Answer:
    if event["event"] == "error":
        raise from_envelope(event)
    try:
        return answer.model_validate({k: v for k, v in event.items() if k != "event"})
    except ValidationError as error:
        raise TrainingError(
            f"The trainer's result is not in its protocol: {error}",
            next_step="This is a defect of the trainer; please report it.",
        ) from error


def _died(exit_code: int, stderr: Path) -> TrainingError:
    kind, cause = TrainingError, f"exit code {exit_code}"
    next_step = "Read the end of its output above, correct what it names, and distill again."
    if exit_code < 0:
        kind, cause = TrainerDiedError, f"signal {signal.Signals(-exit_code).name}"
        next_step = (
            "If it was out of memory, close other programs or lower `rank`; then distill again."
        )
    with stderr.open("rb") as log:
        log.seek(max(0, stderr.stat().st_size - _TAIL_BYTES))
        tail = log.read().decode("utf-8", errors="replace").strip()
    message = f"The trainer died ({cause}) before it had a result."
    return kind(f"{message}\n{tail}".strip(), next_step=next_step)


async def _exit_code(process: Process) -> int:
    """Wait for the trainer's own end.

    Polled, because `Process.wait` may also wait for its pipes, which a child can hold open.
    """
    while process.returncode is None:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(_POLL_SECONDS)
    return process.returncode


async def _end_group_with_leader(process: Process) -> None:
    """End the children of a trainer that has gone: they would keep its stdout open for ever."""
    await _exit_code(process)
    _signal_group(process.pid, signal.SIGKILL)


async def _end(process: Process) -> None:
    """End the trainer and its process group: politely, then not."""
    try:
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(_exit_code(process), _TERM_SECONDS)
    finally:
        # The leader may be gone and have left children behind.
        _signal_group(process.pid, signal.SIGKILL)
    await _exit_code(process)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
