"""Forgetting as the engine does it: end what is running, erase, unload, and rebuild if asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rune_engine.errors import RuneError
from rune_engine.models import (
    FINISHED,
    AdapterInfo,
    DistillParams,
    ForgetParams,
    ForgetReport,
    ForgottenAdapter,
)

if TYPE_CHECKING:
    from rune_engine.service.engine import Engine

_LONGEST_WAIT_SECONDS = 5.0


async def forget(engine: Engine, params: ForgetParams) -> ForgetReport:
    """Forget a project or a session; see `ForgetReport`.

    Raises:
        NotFoundError: nothing is stored of it.
        StorageError: nothing was erased; jobs may have been cancelled.
    """
    cancelled = await _end_jobs(engine, params)
    report = await asyncio.to_thread(engine.forgetting.forget, params)
    if report.adapters:
        await engine.providers.close_all()  # a worker holds what it has loaded
    adapters = report.adapters
    if params.rebuild:
        adapters = [await _rebuilt(engine, adapter) for adapter in adapters]
    return report.model_copy(update={"cancelled_jobs": cancelled, "adapters": adapters})


async def _end_jobs(engine: Engine, params: ForgetParams) -> list[str]:
    await asyncio.to_thread(engine.forgetting.look, params)  # nothing to forget: nothing to end
    jobs = await asyncio.to_thread(engine.forgetting.unfinished_jobs, params)
    for job_id in jobs:
        await engine.runner.cancel(job_id)
    for job_id in jobs:
        job = await engine.wait_for_job(job_id, 0, 0)
        while job.status not in FINISHED:
            job = await engine.wait_for_job(job_id, job.revision, _LONGEST_WAIT_SECONDS)
    return jobs


async def _rebuilt(engine: Engine, forgotten: ForgottenAdapter) -> ForgottenAdapter:
    """The same adapter's entry with the job that distills it anew, or why there is none."""
    adapter = await asyncio.to_thread(engine.registry.retrieve_by_id, forgotten.adapter_id)
    try:
        params = await asyncio.to_thread(_distillation, engine, adapter)
        outcome = (await engine.submit_distill(params)).id
    except RuneError as error:
        outcome = error.message
    return forgotten.model_copy(update={"rebuild": outcome})


def _distillation(engine: Engine, adapter: AdapterInfo) -> DistillParams:
    """The distillation that made `adapter`, of what is left of what it learnt from."""
    job = engine.jobs.that_made(adapter.id)
    if job is None:
        raise RuneError("Nothing is known of how it was made.", next_step="Distill it by hand.")
    remaining = engine.forgetting.remaining(adapter.id)
    made_with = DistillParams.model_validate(job.params)
    trained = [each for each, role in remaining.items() if role == "trained"]
    kept_back = [each for each, role in remaining.items() if role == "kept_back"]
    return made_with.model_copy(update={"trajectory_ids": trained, "kept_back_ids": kept_back})
