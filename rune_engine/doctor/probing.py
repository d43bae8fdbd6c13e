"""Has `trainers.probe` try lines of Phase 0, in a process that may die of one and not of the rest.

Knows the probe's protocol and nothing of torch.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rune_engine.errors import MissingExtraError
from rune_engine.extras import require
from rune_engine.jobs.trainer import TRAINER_ENVIRONMENT
from rune_engine.models.probing import Check, ProbeJob, ProbeLine
from rune_engine.starter import child_environment

COMMAND = (sys.executable, "-P", "-m", "trainers.probe")

_LINE_SECONDS = 600.0
_TAIL_BYTES = 600

Outcomes = dict[ProbeLine, Check]


async def probe(
    job: ProbeJob, trying: Callable[[str], None], command: Sequence[str] = COMMAND
) -> Outcomes:
    """The outcome of every line of the job.

    A process that dies is the failure of the line that it was at; another one tries the rest.

    Args:
        trying: told of each line that begins.
        command: what to start; the job file's path is added to it.
    """
    try:
        require("torch", "Trying what training and serving need")
    except MissingExtraError as error:
        return {line: _missing(line, error) for line in job.lines}
    outcomes: Outcomes = {}
    while left := [line for line in job.lines if line not in outcomes]:
        found = await _run(job.model_copy(update={"lines": left}), trying, command)
        log = Path(job.output_path) / "probe.log"
        outcomes |= found or {line: _died(line, "it could not be started", log) for line in left}
    return outcomes


async def _run(job: ProbeJob, trying: Callable[[str], None], command: Sequence[str]) -> Outcomes:
    """The outcomes of one process, the one that it died of included; empty if it said nothing."""
    folder = Path(job.output_path)
    job_file = folder / "probe.json"
    job_file.write_text(job.model_dump_json(), encoding="utf-8")
    with (folder / "probe.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(job_file),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            cwd=folder,
            env=child_environment() | TRAINER_ENVIRONMENT,
            start_new_session=True,
        )
    try:
        return await _outcomes(process, trying, folder / "probe.log")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _outcomes(process: Process, trying: Callable[[str], None], log: Path) -> Outcomes:
    assert process.stdout is not None
    outcomes: Outcomes = {}
    at: ProbeLine | None = None
    try:
        while line := await asyncio.wait_for(process.stdout.readline(), _LINE_SECONDS):
            event: dict[str, Any] = json.loads(line)
            if event.pop("event") == "begin":
                at = event["line"]
                trying(event["line"])
            elif at is not None:
                outcomes[at], at = Check.model_validate(event), None
    except (TimeoutError, ValueError) as error:
        cause = "it did not end" if isinstance(error, TimeoutError) else f"it babbled: {error}"
        return outcomes if at is None else outcomes | {at: _died(at, cause, log)}
    code = await process.wait()
    if at is not None:
        outcomes[at] = _died(at, _cause(code), log)
    return outcomes


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _died(line: ProbeLine, cause: str, log: Path) -> Check:
    step = "Reinstall torch and what goes with it, in versions that belong together."
    if cause == signal.SIGKILL.name:
        step = "It was probably out of memory: close other programs, or use a smaller base model."
    said = log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace").strip().splitlines()[-3:]
    detail = "\n".join([f"the process that tried it ended: {cause}", *said])
    return Check(name=line, status="problem", detail=detail, next_step=step)


def _missing(line: ProbeLine, error: MissingExtraError) -> Check:
    return Check(name=line, status="untried", detail=error.message, next_step=error.next_step)
