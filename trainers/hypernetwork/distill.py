"""A hypernetwork's distillation: trajectories become an adapter in one forward pass of it.

Trajectories are read as the closed form reads them, and kept in the same files, so that neither
reads again what the other has read.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rune_engine.models import TrainerJob, TrainerResult
from trainers.closed_form.base_files import shape_of
from trainers.closed_form.choosing import MOST_NATS, folded
from trainers.closed_form.distill import sessions_of
from trainers.closed_form.evidence import Evidence
from trainers.closed_form.gathering import Gathered, Gathering
from trainers.closed_form.output import Output
from trainers.closed_form.settings import resolve
from trainers.closed_form.statistics import LowRank
from trainers.hypernetwork.files import read_of_base
from trainers.hypernetwork.memory import require
from trainers.hypernetwork.network import Hypernetwork
from trainers.hypernetwork.rows import Rows, rows_of
from trainers.protocol import Report, peak_memory_bytes
from trainers.updates import save_update


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses: of what was taught; of parts left out in turn, with the others' adapter and
    without any."""

    taught: float
    kept_back: float | None = None
    before: float | None = None


def distill(job: TrainerJob, report: Report) -> TrainerResult:
    """Carry the job out.

    Raises:
        NothingToDistillError: no trajectory holds code that passed.
        BaseModelNotFoundError: the job's base model is not on disk.
        BaseModelCorruptedError: its hypernetwork cannot be read.
        TrainingError: it has none, or one that was made for another model.
        TrainingError, DeviceMemoryError: it does not fit into memory.
        DiskFullError, HomeNotWritableError: what was read cannot be kept.
    """
    settings = resolve(job)
    if job.threads:
        torch.set_num_threads(job.threads)
    folder = Path(job.base_model_path)
    shape = shape_of(folder)
    network = read_of_base(folder, shape)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True
    )
    sessions = sessions_of(job, min(settings.max_length, shape.longest), tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.monotonic()
    gathered = Gathering(job, shape, tokenizer, device, report).run(sessions)
    estimated = require(network.settings, gathered, job.memory_limit_bytes)
    report(0.65, "makes the adapter")
    rows = rows_of(gathered.output, gathered.kept)
    update = network.distill(rows)
    save_update(update.a, update.b, shape.target, Path(job.output_path), job.base_model_id)
    report(0.8, "tries it on what was left out")
    tasks = [session.trajectory.task_description for session in sessions]
    parts = folded(tasks, settings.folds, job.seed)
    losses = _losses(network, rows, update, gathered, parts)
    return TrainerResult(
        rank=len(update.a),
        examples=sum(len(session.examples) for session in sessions),
        steps=0,
        training_loss=losses.taught,
        kept_back_loss=losses.kept_back,
        kept_back_loss_before=losses.before,
        delta_w_norm=update.norm,
        seconds=time.monotonic() - began,
        peak_memory_bytes=peak_memory_bytes(),
        method="hypernetwork",
        estimated_memory_bytes=max(estimated, gathered.estimated),
        newly_read=gathered.newly_read,
    )


def _losses(
    network: Hypernetwork,
    rows: Rows,
    update: LowRank,
    gathered: Gathered,
    parts: list[list[int]],
) -> Losses:
    """As the closed form reports them: each part judged by what the others' adapter says."""
    evidence = [kept.judged for kept in gathered.kept]
    everything = Evidence.joined(evidence)
    taught = _total(gathered.output, everything, update, most=math.inf) / len(everything)
    if len(parts) < 2:
        return Losses(taught)
    kept_back = before = 0.0
    for part in parts:
        others = [number for number in range(len(evidence)) if number not in part]
        judged = Evidence.joined([evidence[number] for number in part])
        made = network.distill(rows.of_chunks(others))
        kept_back += _total(gathered.output, judged, made, most=MOST_NATS)
        before += _total(gathered.output, judged, None, most=MOST_NATS)
    return Losses(taught, kept_back / len(everything), before / len(everything))


def _total(output: Output, evidence: Evidence, update: LowRank | None, *, most: float) -> float:
    moved = update.moves(evidence.keys) if update else None
    return float(output.losses(evidence, moved).clamp(max=most).double().sum())
