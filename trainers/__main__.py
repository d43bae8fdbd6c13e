"""Carries one job out: `python -m trainers JOB.json`.

A `TrainerJob` is a distillation; `kind` tells a `MergeJob` and a `CompareJob`. What makes an
adapter leaves `adapter_model.safetensors` and `adapter_config.json` in the job's `output_path`.
Reports on stdout, one JSON object a line. Runs as a subprocess of the engine and ends when its
stdin closes.
"""

from __future__ import annotations

import json

from rune_engine.lean_torch import leave_out_compiler
from rune_engine.models import Model, TrainerJob
from rune_engine.models.merging import CompareJob, MergeJob
from trainers.distilling import distill
from trainers.protocol import Report, run_trainer

Job = TrainerJob | MergeJob | CompareJob
_KINDS: dict[str, type[MergeJob] | type[CompareJob]] = {"merge": MergeJob, "compare": CompareJob}


def parse(text: str) -> Job:
    """The job in a job file.

    Raises:
        ValueError: it is none.
    """
    given = json.loads(text)
    kind = given.get("kind") if isinstance(given, dict) else None
    return _KINDS.get(kind or "", TrainerJob).model_validate(given)


def carry_out(job: Job, report: Report) -> Model:
    """What the job's trainer answers.

    Raises:
        RuneError: see the trainers.
    """
    if isinstance(job, MergeJob):
        from trainers.merging.merge import merge

        return merge(job, report)
    if isinstance(job, CompareJob):
        from trainers.merging.compare import compare

        return compare(job, report)
    return distill(job, report)


if __name__ == "__main__":
    leave_out_compiler()
    run_trainer(carry_out, parse)
