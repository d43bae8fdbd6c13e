"""Direct distillation: a project's trajectories become a LoRA adapter by fine-tuning (S8).

    python -m trainers.direct JOB.json

Reads a `TrainerJob`, trains, leaves `adapter_model.safetensors` and `adapter_config.json` in the
job's `output_path` and reports on stdout, one JSON object a line. Runs as a subprocess of the
engine and ends when its stdin closes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rune_engine.errors import NothingToDistillError
from rune_engine.models import TrainerJob, TrainerResult
from trainers import dataset, lora, tracking
from trainers.protocol import peak_memory_bytes, run_trainer
from trainers.settings import DirectSettings, resolve
from trainers.tokens import (
    Batch,
    Example,
    answer_loss,
    answer_tokens,
    by_length,
    clipped_loss,
    collate,
)

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Fit:
    """How one run of training went; losses are nats per token of the answers."""

    steps: int
    training_loss: float
    kept_back_loss: float | None


def _steps(
    data: dataset.Split, settings: DirectSettings, pad_id: int, seed: int
) -> Iterator[list[Batch]]:
    """Endless shuffled passes over the training examples; each step with some rehearsal.

    A step is a few batches of similar lengths whose gradients are added up.
    """
    generator = torch.Generator().manual_seed(seed)

    def shuffled(examples: Sequence[Example]) -> list[Example]:
        return [examples[i] for i in torch.randperm(len(examples), generator=generator).tolist()]

    while True:
        order = shuffled(data.training)
        for start in range(0, len(order), settings.batch_size):
            groups = by_length(order[start : start + settings.batch_size])
            if data.rehearsal and settings.rehearsal:
                groups.append(shuffled(data.rehearsal)[: settings.rehearsal])
            yield [collate(group, pad_id) for group in groups]


def _on(batch: Batch, device: str) -> Batch:
    return Batch(batch.ids.to(device), batch.labels.to(device))


@torch.no_grad()
def _kept_back_loss(
    model: PeftModel, examples: Sequence[Example], size: int, pad_id: int, device: str
) -> float:
    model.eval()
    total, tokens = 0.0, 0
    for start in range(0, len(examples), size):
        batch = _on(collate(examples[start : start + size], pad_id), device)
        count = answer_tokens(batch)
        with torch.autocast(device, dtype=torch.bfloat16):
            total += float(clipped_loss(model, batch)) * count
        tokens += count
    model.train()
    return total / max(1, tokens)


def fit(
    model: PeftModel,
    data: dataset.Split,
    settings: DirectSettings,
    *,
    pad_id: int,
    seed: int,
    device: str,
    report: Report,
) -> Fit:
    """Train the adapter in place, until the kept-back loss stops falling.

    The adapter is left as it was at its best kept-back loss; with nothing kept back it trains for
    `max_steps`.
    """
    parameters = lora.trainable(model)
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = _steps(data, settings, pad_id, seed)
    best: tuple[float, int, list[torch.Tensor]] | None = None
    looks_without_gain, loss_value = 0, float("nan")
    model.train()
    for step in range(1, settings.max_steps + 1):
        _set_rate(optimizer, settings, step)
        loss_value = _accumulate(model, [_on(batch, device) for batch in next(steps)], device)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        report(
            step / settings.max_steps, f"step {step}/{settings.max_steps}, loss {loss_value:.3f}"
        )
        if not data.kept_back or not _is_time_to_look(settings, step):
            continue
        kept = _kept_back_loss(model, data.kept_back, settings.batch_size, pad_id, device)
        if best is None or kept < best[0]:
            best, looks_without_gain = (kept, step, [p.detach().clone() for p in parameters]), 0
        else:
            looks_without_gain += 1
            if looks_without_gain >= settings.patience:
                break
    if best is None:
        return Fit(settings.max_steps, loss_value, None)
    for parameter, value in zip(parameters, best[2], strict=True):
        parameter.data.copy_(value)
    return Fit(best[1], loss_value, best[0])


def _accumulate(model: PeftModel, batches: Sequence[Batch], device: str) -> float:
    """Add up the gradients of the mean loss over all of the batches' tokens; returns that loss."""
    tokens = [answer_tokens(batch) for batch in batches]
    total = 0.0
    for batch, count in zip(batches, tokens, strict=True):
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = answer_loss(model, batch) * (count / sum(tokens))
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def _is_time_to_look(settings: DirectSettings, step: int) -> bool:
    if step == settings.max_steps:
        return True
    return step >= settings.min_steps and step % settings.evaluate_every == 0


def _set_rate(optimizer: torch.optim.Optimizer, settings: DirectSettings, step: int) -> None:
    """Five steps of warm-up, then constant: where early stopping stops is not known before."""
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * min(1.0, step / 5)


def distill(job: TrainerJob, report: Report) -> TrainerResult:
    """Carry the job out.

    Raises:
        NothingToDistillError: no trajectory holds code that passed.
        BaseModelNotFoundError, TrainingError: see `settings.resolve`.
    """
    began = time.monotonic()
    settings = resolve(job)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if job.threads:
        torch.set_num_threads(job.threads)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        job.base_model_path, local_files_only=True
    )
    trajectories = dataset.load_trajectories(Path(job.trajectories_path))
    data = dataset.split(
        trajectories,
        tokenizer,
        kept_back=settings.kept_back,
        seed=job.seed,
        max_length=settings.max_length,
    )
    data = replace(
        data,
        rehearsal=dataset.load_rehearsal(Path(job.base_model_path), tokenizer, settings.max_length),
    )
    if not data.everything:
        raise NothingToDistillError(
            f"None of {len(trajectories)} trajectories ends in code that passed its tests.",
            next_step="Record sessions whose last attempt passed.",
        )
    report(0.02, f"{len(data.training)} examples, {len(data.kept_back)} kept back")
    with tracking.track(job, settings) as run:
        model, outcome, before = _train(job, settings, data, tokenizer, device, report)
        lora.save_adapter(model, Path(job.output_path), job.base_model_id)
        result = TrainerResult(
            rank=settings.rank,
            examples=len(data.everything),
            steps=outcome.steps,
            training_loss=outcome.training_loss,
            kept_back_loss=outcome.kept_back_loss,
            kept_back_loss_before=before,
            delta_w_norm=lora.delta_w_norm(model),
            seconds=time.monotonic() - began,
            peak_memory_bytes=peak_memory_bytes(),
        )
        run.finish(result)
    return result


def _train(
    job: TrainerJob,
    settings: DirectSettings,
    data: dataset.Split,
    tokenizer: PreTrainedTokenizerBase,
    device: str,
    report: Report,
) -> tuple[PeftModel, Fit, float | None]:
    """Train with early stopping, then for a few steps on everything.

    Returns the adapted model, how training went (with the kept-back loss of early stopping), and
    the kept-back loss before any of it.
    """
    pad_id = int(tokenizer.pad_token_id or tokenizer.eos_token_id or 0)
    model = lora.add_adapter(lora.load_base(job.base_model_path, device), settings, job.seed)
    before = None
    if data.kept_back:
        before = _kept_back_loss(model, data.kept_back, settings.batch_size, pad_id, device)
    finish_steps = settings.finish_steps if data.kept_back else 0
    share = settings.max_steps / (settings.max_steps + finish_steps)

    def run(part: dataset.Split, steps: int, begin: float, end: float) -> Fit:
        return fit(
            model,
            part,
            settings.model_copy(update={"max_steps": steps}),
            pad_id=pad_id,
            seed=job.seed,
            device=device,
            report=lambda done, text: report(0.05 + 0.9 * (begin + (end - begin) * done), text),
        )

    outcome = run(data, settings.max_steps, 0.0, share)
    if finish_steps:
        rest = run(dataset.Split(data.everything, [], data.rehearsal), finish_steps, share, 1.0)
        outcome = replace(
            outcome, steps=outcome.steps + rest.steps, training_loss=rest.training_loss
        )
    return model, outcome, before


if __name__ == "__main__":
    run_trainer(distill)
