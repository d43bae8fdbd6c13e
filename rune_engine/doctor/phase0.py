"""S20, the table of Phase 0 (001): every line tried for real on whatever this machine has.

The doctor itself never loads a model: training is tried by `trainers.probe`, serving by the
configured back-end as the engine would start it.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.doctor.back_ends import back_end_checks
from rune_engine.doctor.probing import Outcomes, probe
from rune_engine.doctor.serving import ADAPTED, SERVES, allowed, serving_checks
from rune_engine.errors import BaseModelCorruptedError, BaseModelNotFoundError, RuneError
from rune_engine.jobs.lease import takes_turns
from rune_engine.model_store.resolve import resolve_trainable
from rune_engine.models.probing import Check, KnownAdapter, ProbeJob, ProbeLine

Trying = Callable[[str], None]

_KNOWN: ProbeLine = "known adapter"
_LINES: tuple[ProbeLine, ...] = ("accelerator", "torch steps", "bf16", _KNOWN, "qlora step")
_NEWEST_JOBS = 200
LINES = ("accelerator", "torch steps", "bf16", SERVES, ADAPTED, "qlora step")
"""Their names, without the back-ends that need not be there."""


async def phase0(config: RuneConfig, trying: Trying) -> list[Check]:
    """Every line of Phase 0, each good, a problem, or untried.

    Args:
        trying: told of each line that begins.
    """
    busy = await _training_now(config)
    if busy is not None:
        return [_wait_for(busy, name) for name in LINES] + await back_end_checks(config)
    with tempfile.TemporaryDirectory(prefix="rune-doctor-") as folder:
        outcomes = await probe(_job(config, folder), trying)
        trying(SERVES)
        known = _known(Path(folder), outcomes)
        served = await serving_checks(config, known, allowed(config))
    trained = [outcomes[line] for line in _LINES if line != _KNOWN]
    return [*trained[:-1], *served, trained[-1], *await back_end_checks(config)]


def _job(config: RuneConfig, folder: str) -> ProbeJob:
    """What the probe is told; a base model that Transformers cannot load is left out."""
    identity, path = config.base_model, None
    with suppress(BaseModelNotFoundError, BaseModelCorruptedError):  # these have their own line
        found = resolve_trainable(config.base_model, config)
        if any(found.path.glob("*.safetensors")):
            identity, path = found.id, str(found.path)
    return ProbeJob(
        lines=list(_LINES),
        base_model_id=identity,
        base_model_path=path,
        output_path=folder,
        seed=secrets.randbelow(2**31),
        threads=config.model_threads,
    )


def _known(folder: Path, outcomes: Outcomes) -> KnownAdapter | Check:
    if outcomes[_KNOWN].status != "good":
        return outcomes[_KNOWN]
    return KnownAdapter.model_validate_json((folder / "known.json").read_bytes())


async def _training_now(config: RuneConfig) -> str | None:
    """The job that has the accelerator to itself, where one has."""
    if not takes_turns(config.exclusive):
        return None
    try:
        async with EngineClient(config) as client:
            if await client.running() is None:
                return None
            jobs = await client.list_jobs(limit=_NEWEST_JOBS)
    except RuneError:
        return None  # the look at the engine has its own line
    running = [job.id for job in jobs if job.kind == "distill" and job.status == "running"]
    return running[0] if running else None


def _wait_for(job_id: str, name: str) -> Check:
    return Check(
        name=name,
        status="untried",
        detail=f"job {job_id} trains and has the accelerator to itself",
        next_step="Run this again when it has ended: `rune jobs`.",
    )
