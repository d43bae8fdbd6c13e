"""The closed form: a project's trajectories become a LoRA adapter without any training.

One forward pass over each trajectory that was not read before, and a ridge solve (`statistics`)
whose settings are chosen by trajectories that teach each other. The adapter is on the `down_proj`
of the last layer alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rune_engine.models import TrainerJob, TrainerResult
from trainers import dataset
from trainers.closed_form.base_files import shape_of
from trainers.closed_form.choosing import Choice, Lesson, choose, folded
from trainers.closed_form.evidence import Evidence
from trainers.closed_form.gathering import Gathered, Gathering, Session
from trainers.closed_form.settings import ClosedFormSettings, resolve
from trainers.closed_form.statistics import LowRank
from trainers.protocol import Report, peak_memory_bytes
from trainers.updates import save_update


@dataclass(frozen=True, slots=True)
class Solved:
    """An update, the settings that it was made with, and the loss on what was taught."""

    update: LowRank
    choice: Choice
    loss: float


def distill(job: TrainerJob, report: Report) -> TrainerResult:
    """Carry the job out.

    Raises:
        NothingToDistillError: no trajectory holds code that passed.
        BaseModelNotFoundError: see `settings.resolve`.
        TrainingError: the base model is not of Qwen2's shape, or its settings are wrong.
        TrainingError, DeviceMemoryError: it does not fit into memory.
        DiskFullError, HomeNotWritableError: what was read cannot be kept.
    """
    settings = resolve(job)
    if job.threads:
        torch.set_num_threads(job.threads)
    shape = shape_of(Path(job.base_model_path))
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        job.base_model_path, local_files_only=True
    )
    sessions = sessions_of(job, min(settings.max_length, shape.longest), tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.monotonic()
    gathered = Gathering(job, shape, tokenizer, device, report).run(sessions)
    report(0.65, "chooses how hard to teach")
    tasks = [session.trajectory.task_description for session in sessions]
    solved = solve_for(tasks, gathered, settings, job.seed)
    report(0.95, f"ridge {solved.choice.ridge:g}, strength {solved.choice.strength:g} nats")
    update, folder = solved.update, Path(job.output_path)
    save_update(update.a, update.b, shape.target, folder, job.base_model_id)
    return TrainerResult(
        rank=len(update.a),
        examples=sum(len(session.examples) for session in sessions),
        steps=0,
        training_loss=solved.loss,
        kept_back_loss=solved.choice.loss,
        kept_back_loss_before=solved.choice.loss_before,
        delta_w_norm=update.norm,
        seconds=time.monotonic() - began,
        peak_memory_bytes=peak_memory_bytes(),
        method="closed_form",
        estimated_memory_bytes=gathered.estimated,
        newly_read=gathered.newly_read,
        chosen={"ridge": solved.choice.ridge, "strength": solved.choice.strength},
    )


def sessions_of(
    job: TrainerJob, max_length: int, tokenizer: PreTrainedTokenizerBase
) -> list[Session]:
    """The job's trajectories that teach something.

    Raises:
        NothingToDistillError: none does.
    """
    trajectories = dataset.load_trajectories(Path(job.trajectories_path))
    every = [Session(t, dataset.examples_of(t, tokenizer, max_length)) for t in trajectories]
    sessions = [session for session in every if session.examples]
    if not sessions:
        raise dataset.nothing_to_distill(trajectories)
    return sessions


def solve_for(
    tasks: Sequence[str], gathered: Gathered, settings: ClosedFormSettings, seed: int
) -> Solved:
    """Choose the settings by parts of the trajectories, then solve for all of them.

    Args:
        tasks: of the trajectories, in their order.
    """
    parts = [[gathered.kept[n] for n in part] for part in folded(tasks, settings.folds, seed)]
    lesson = Lesson(parts, gathered.known)
    tokens = sum(len(kept.judged) for kept in gathered.kept)
    share = min(1.0, settings.judged / tokens)
    judged = [
        Evidence.joined([kept.judged.spread(ceil(share * len(kept.judged))) for kept in part])
        for part in parts
    ]
    everything = Evidence.joined(judged)
    rank = min(settings.rank, lesson.rows, *everything.states.shape[1:], *everything.keys.shape[1:])
    unit = gathered.output.unit(everything)
    choice = choose(lesson, judged, gathered.output, settings, rank, unit)
    update = lesson.solve(choice.ridge, rank).scaled(choice.strength / unit)
    losses = gathered.output.losses(everything, update.moves(everything.keys))
    return Solved(update, choice, float(losses.mean()))
