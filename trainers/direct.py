"""Direct distillation: a project's trajectories become a LoRA adapter by fine-tuning (S8).

Started again with the same job and the same trajectories, it goes on from the last checkpoint in
the job's `checkpoint_path`.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rune_engine.extras import require
from rune_engine.models import TrainerJob, TrainerResult
from trainers import dataset, lora, memory, tracking
from trainers.checkpoint import Checkpoints, Snapshot
from trainers.fitting import Fit, Fitting, kept_back_loss
from trainers.protocol import Report, peak_memory_bytes
from trainers.running import Runner, runner_for
from trainers.settings import QUANTISED, DirectSettings, resolve

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True, slots=True)
class Trained:
    """A training's end: how its two phases went together, the kept-back loss before any of it,
    and how long it took, earlier attempts included."""

    model: PeftModel
    fit: Fit
    kept_back_loss_before: float | None
    seconds: float


def distill(job: TrainerJob, report: Report) -> TrainerResult:
    """Carry the job out with the settings that the base model recommends.

    Raises:
        BaseModelNotFoundError, TrainingError: see `settings.resolve`.
        RuneError: see `distill_with`.
    """
    return distill_with(resolve(job), job, report)


def distill_with(settings: DirectSettings, job: TrainerJob, report: Report) -> TrainerResult:
    """Carry the job out with these settings.

    Raises:
        NothingToDistillError: no trajectory holds code that passed.
        TrainingError, DeviceMemoryError: it does not fit, see `memory.choose`.
        MissingExtraError: the method asked for needs bitsandbytes, which is not installed.
    """
    if job.threads:
        torch.set_num_threads(job.threads)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        job.base_model_path, local_files_only=True
    )
    data = _data(job, settings, tokenizer)
    plan = _plan(job, settings, data)
    report(0.02, f"{len(data.training)} examples, {len(data.kept_back)} kept back; {plan}")
    with tracking.track(job, settings, plan.method) as run:
        pad_id = int(tokenizer.pad_token_id or tokenizer.eos_token_id or 0)
        trained = Training(job, settings, plan, data, pad_id, report).run()
        lora.save_adapter(trained.model, Path(job.output_path), job.base_model_id)
        result = TrainerResult(
            rank=settings.rank,
            examples=len(data.everything),
            steps=trained.fit.steps,
            training_loss=trained.fit.training_loss,
            kept_back_loss=trained.fit.kept_back_loss,
            kept_back_loss_before=trained.kept_back_loss_before,
            delta_w_norm=lora.delta_w_norm(trained.model),
            seconds=trained.seconds,
            peak_memory_bytes=peak_memory_bytes(),
            method=plan.method,
            estimated_memory_bytes=plan.peak,
        )
        run.finish(result)
    return result


def _data(
    job: TrainerJob, settings: DirectSettings, tokenizer: PreTrainedTokenizerBase
) -> dataset.Split:
    trajectories = dataset.load_trajectories(Path(job.trajectories_path))
    data = dataset.split(
        trajectories,
        tokenizer,
        kept_back=settings.kept_back,
        seed=job.seed,
        max_length=settings.max_length,
    )
    if not data.everything:
        raise dataset.nothing_to_distill(trajectories)
    rehearsal = dataset.load_rehearsal(Path(job.base_model_path), tokenizer, settings.max_length)
    return replace(data, rehearsal=rehearsal)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _plan(job: TrainerJob, settings: DirectSettings, data: dataset.Split) -> memory.Plan:
    """The method and the cut that fit into memory."""
    device = _device()
    method = job.method
    if method in QUANTISED:
        require("qlora", f"Training with {method}")
    shape = memory.shape_of(job.base_model_path, settings, device)
    lengths = [len(example.ids) for example in data.everything + data.rehearsal]
    room = memory.room_for(device, job.memory_limit_bytes)
    return memory.choose(shape, settings, lengths, method, room)


class Training:
    """Two phases, with early stopping and then for a few steps on everything, and where it is.

    Nothing is kept back from the second, so it has a fixed length.
    """

    def __init__(
        self,
        job: TrainerJob,
        settings: DirectSettings,
        plan: memory.Plan,
        data: dataset.Split,
        pad_id: int,
        report: Report,
    ) -> None:
        self._began = time.monotonic()
        self._job = job
        self._settings = settings
        self._plan = plan
        self._data = data
        self._pad_id = pad_id
        self._report = report
        self._device = _device()
        folder = Path(job.checkpoint_path) if job.checkpoint_path else None
        inputs = _inputs_hash(job, settings, plan.method)
        self._checkpoints = Checkpoints(folder, inputs, job.checkpoint_seconds)
        self._before: float | None = None
        self._first: Fit | None = None
        self._seconds_before = 0.0

    def run(self) -> Trained:
        """Train from the last checkpoint, or from the start."""
        saved = self._checkpoints.latest()
        if saved is not None:
            self._continue(saved)
        method = self._plan.method
        base = lora.load_base(self._job.base_model_path, self._device, method)
        model = lora.add_adapter(base, self._settings, self._job.seed, method)
        runner = runner_for(model, self._pad_id, self._device, self._plan.cut)
        if saved is None:
            self._before = self._loss_before(model, runner)
        finish_steps = self._settings.finish_steps if self._data.kept_back else 0
        share = self._settings.max_steps / (self._settings.max_steps + finish_steps)
        fit = self._first
        if fit is None:
            fit = self._phase(
                model, runner, self._data, self._settings.max_steps, (0.0, share), saved
            )
        if finish_steps:
            saved = saved if self._first else None
            self._first = fit
            everything = dataset.Split(self._data.everything, [], self._data.rehearsal)
            rest = self._phase(model, runner, everything, finish_steps, (share, 1.0), saved)
            fit = replace(fit, steps=fit.steps + rest.steps, training_loss=rest.training_loss)
        return Trained(model, fit, self._before, self._seconds())

    def _loss_before(self, model: PeftModel, runner: Runner) -> float | None:
        if not self._data.kept_back:
            return None
        return kept_back_loss(model, runner, self._data.kept_back, self._settings.batch_size)

    def _phase(
        self,
        model: PeftModel,
        runner: Runner,
        data: dataset.Split,
        steps: int,
        span: tuple[float, float],
        saved: Snapshot | None,
    ) -> Fit:
        """One phase, which is the part `span` of the whole; from `saved` on if that is its own."""
        settings = self._settings.model_copy(update={"max_steps": steps})
        fitting = Fitting(model, runner, data, settings, self._job.seed)
        if saved is not None:
            fitting.restore(saved)
        begin, end = span

        def report(done: float, text: str) -> None:
            self._report(0.05 + 0.9 * (begin + (end - begin) * done), text)

        return fitting.run(report, lambda: self._save(fitting))

    # --- where it is -------------------------------------------------------------------------

    def _save(self, fitting: Fitting) -> None:
        if not self._checkpoints.due():
            return
        snapshot = fitting.snapshot()
        whole = {
            "before": self._before,
            "first": asdict(self._first) if self._first else None,
            "seconds": self._seconds(),
        }
        self._checkpoints.save(replace(snapshot, numbers={**snapshot.numbers, **whole}))

    def _continue(self, saved: Snapshot) -> None:
        numbers = saved.numbers
        self._before, self._seconds_before = numbers["before"], float(numbers["seconds"])
        self._first = Fit(**numbers["first"]) if numbers["first"] else None
        phase = "the last phase" if self._first else "training"
        self._report(0.04, f"continues {phase} after step {numbers['step']}")

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began


def _inputs_hash(job: TrainerJob, settings: DirectSettings, method: str) -> str:
    """SHA-256 over all that the resulting weights follow from."""
    model = Path(job.base_model_path)
    files = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in model.iterdir())
    parts = [settings.model_dump_json(), method, str(job.seed), job.base_model_id, str(files)]
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update(Path(job.trajectories_path).read_bytes())
    return digest.hexdigest()
