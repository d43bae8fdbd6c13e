"""Tries the lines of a `ProbeJob` one after the other; a failure is a line's outcome."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from rune_engine.errors import (
    BaseModelNotFoundError,
    DeviceMemoryError,
    MissingExtraError,
    RuneError,
)
from rune_engine.lean_torch import leave_out_compiler
from rune_engine.models.probing import Check, ProbeJob, ProbeLine
from trainers.probe import device, known_adapter, qlora
from trainers.protocol import connect

LINES: dict[ProbeLine, Callable[[ProbeJob], Check]] = {
    "accelerator": device.accelerator,
    "torch steps": device.torch_steps,
    "bf16": device.bf16,
    "known adapter": known_adapter.known_adapter,
    "qlora step": qlora.qlora_step,
}


def main() -> None:
    """Try every line of the job file named on the command line."""
    leave_out_compiler()
    emit = connect()
    job = ProbeJob.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if job.threads:
        torch.set_num_threads(job.threads)
    for line in job.lines:
        emit("begin", line=line)
        emit("check", **tried(line, job).model_dump())


def tried(line: ProbeLine, job: ProbeJob) -> Check:
    """The outcome of one line, whatever happens in it."""
    try:
        return LINES[line](job)
    except MissingExtraError as error:
        return _check(line, "warning", error.message, error.next_step)
    except (DeviceMemoryError, BaseModelNotFoundError) as error:
        return _check(line, "untried", error.message, error.next_step)
    except torch.OutOfMemoryError as error:
        step = "Close what else uses the accelerator (`rune engine stop` frees Rune's model)."
        return _check(line, "untried", f"the accelerator is full: {error}", step)
    except RuneError as error:
        return _check(line, "problem", error.message, error.next_step)
    except Exception as error:  # noqa: BLE001 - the one driver: every failure is an outcome
        traceback.print_exc()
        return _check(line, "problem", f"{type(error).__name__}: {error}"[:1000], device.REINSTALL)


def _check(line: str, status: str, detail: str, next_step: str) -> Check:
    return Check.model_validate(
        {"name": line, "status": status, "detail": detail, "next_step": next_step}
    )


if __name__ == "__main__":
    main()
