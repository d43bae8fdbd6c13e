"""Carries one distillation out: `python -m trainers JOB.json`.

Reads a `TrainerJob`, leaves `adapter_model.safetensors` and `adapter_config.json` in the job's
`output_path` and reports on stdout, one JSON object a line. Runs as a subprocess of the engine and
ends when its stdin closes.
"""

from __future__ import annotations

from rune_engine.models import TrainerJob, TrainerResult
from trainers.protocol import Report, run_trainer


def distill(job: TrainerJob, report: Report) -> TrainerResult:
    """By the job's method; only that one's libraries are imported.

    Raises:
        RuneError: see the methods' own `distill`.
    """
    if job.method == "closed_form":
        from trainers.closed_form.distill import distill as closed_form

        return closed_form(job, report)
    if job.method == "hypernetwork":
        from trainers.hypernetwork.distill import distill as hypernetwork

        return hypernetwork(job, report)
    from trainers.direct import distill as direct

    return direct(job, report)


if __name__ == "__main__":
    run_trainer(distill)
