"""How a trainer talks to the engine: a job file in, JSON lines out, the end when stdin closes."""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

import torch

from rune_engine.errors import DeviceMemoryError, RuneError, TrainingError
from rune_engine.models import Model, TrainerJob

Job = TypeVar("Job")
Report = Callable[[float, str], None]
"""Told how much of a job is done, from 0 to 1, and what it is at."""


def peak_memory_bytes() -> int:
    """The most memory this process has held so far (resident set, bytes)."""
    # On Linux `ru_maxrss` starts at what the parent held; the kernel's own mark does not.
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _end_with_stdin() -> None:
    """The engine holds our stdin open; when it is gone, however it went, so are we."""
    while os.read(0, 4096):
        pass
    os._exit(3)


def _private_stdout() -> TextIO:
    """Keep the real stdout for events; whatever a library prints goes to stderr."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return events


def connect() -> Callable[..., None]:
    """Talk to the engine from now on: what tells it an event, by its name and fields."""
    events = _private_stdout()

    def emit(event: str, **values: Any) -> None:
        events.write(json.dumps({"event": event, **values}) + "\n")
        events.flush()

    threading.Thread(target=_end_with_stdin, daemon=True).start()
    return emit


def run_trainer(
    trainer: Callable[[Job, Report], Model],
    parse: Callable[[str], Job] = TrainerJob.model_validate_json,  # type: ignore[assignment]
) -> None:
    """Run `trainer` on the job file named on the command line and report how it ended.

    Args:
        parse: the job of a file's text.
    """
    emit = connect()

    def report(fraction: float, message: str) -> None:
        emit("progress", fraction=min(1.0, max(0.0, fraction)), message=message)

    try:
        job = parse(Path(sys.argv[1]).read_text(encoding="utf-8"))
        emit("result", **trainer(job, report).model_dump())
    except RuneError as error:
        emit("error", **error.to_envelope())
        sys.exit(1)
    except torch.OutOfMemoryError as error:
        full = DeviceMemoryError(
            f"The accelerator is full: {error}",
            next_step="Close what else uses it, or distill with a lower `rank`.",
        )
        emit("error", **full.to_envelope())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the one driver: every failure becomes an event
        traceback.print_exc()
        failure = TrainingError(
            f"The trainer failed: {type(error).__name__}: {error}",
            next_step="The traceback stands in the engine's log.",
        )
        emit("error", **failure.to_envelope())
        sys.exit(1)
