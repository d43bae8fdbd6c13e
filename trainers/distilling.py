"""One distillation, by its job's method; only that one's libraries are imported."""

from __future__ import annotations

from rune_engine.models import TrainerJob, TrainerResult
from trainers.protocol import Report


def distill(job: TrainerJob, report: Report) -> TrainerResult:
    """Leave an adapter of the job's trajectories in its `output_path`.

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
