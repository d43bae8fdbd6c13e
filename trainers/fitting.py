"""One phase of training an adapter: steps over examples, until the kept-back loss stops falling.

Can tell where it is and go on from there, with the same steps to come. Knows no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from peft import PeftModel

from trainers import dataset, lora
from trainers.checkpoint import Snapshot
from trainers.settings import DirectSettings
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


class Fitting:
    """Trains the adapter of `model` in place.

    Args:
        data: what is trained on, and what is looked at to stop early.
        pad_id: the token that fills a batch's shorter rows.
        seed: of the order of the examples.
        device: where the model is.
    """

    def __init__(
        self,
        model: PeftModel,
        data: dataset.Split,
        settings: DirectSettings,
        *,
        pad_id: int,
        seed: int,
        device: str,
    ) -> None:
        self._model = model
        self._data = data
        self._settings = settings
        self._pad_id = pad_id
        self._seed = seed
        self._device = device
        self._parameters = lora.trainable(model)
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._step = 0
        self._loss = float("nan")
        self._best_loss: float | None = None
        self._best_step = 0
        self._best: list[torch.Tensor] = []
        self._looks_without_gain = 0

    def run(self, report: Report, after_step: Callable[[], None]) -> Fit:
        """Train to the end.

        The adapter is left as it was at its best kept-back loss; with nothing kept back it trains
        for `max_steps`.
        """
        last = self._settings.max_steps
        self._model.train()
        for groups in islice(self._steps(), self._step, None):
            if self._step >= last or self._looks_without_gain >= self._settings.patience:
                break
            self._step += 1
            self._take_step([collate(group, self._pad_id) for group in groups])
            report(self._step / last, f"step {self._step}/{last}, loss {self._loss:.3f}")
            if self._data.kept_back and self._is_time_to_look():
                self._look()
            after_step()
        if self._best_loss is None:
            return Fit(last, self._loss, None)
        self._set_parameters(self._best)
        return Fit(self._best_step, self._loss, self._best_loss)

    # --- where it is -------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Where the training is, between two steps."""
        tensors = {f"adapter.{i}": p.detach() for i, p in enumerate(self._parameters)}
        tensors |= {f"best.{i}": value for i, value in enumerate(self._best)}
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self._device == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        numbers = {
            "step": self._step,
            "loss": self._loss,
            "best_loss": self._best_loss,
            "best_step": self._best_step,
            "looks_without_gain": self._looks_without_gain,
        }
        return Snapshot(tensors, numbers)

    def restore(self, snapshot: Snapshot) -> None:
        """Be where a training of the same inputs was; its next step is the same one."""
        tensors, numbers = snapshot.tensors, snapshot.numbers
        self._step = int(numbers["step"])
        self._loss = float(numbers["loss"])
        self._best_loss = numbers["best_loss"]
        self._best_step = int(numbers["best_step"])
        self._looks_without_gain = int(numbers["looks_without_gain"])
        self._set_parameters([tensors[f"adapter.{i}"] for i in range(len(self._parameters))])
        if self._best_loss is not None:
            self._best = [tensors[f"best.{i}"].to(p) for i, p in enumerate(self._parameters)]
        moments: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(tensors["random.cpu"])
        if self._device == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])

    def _set_parameters(self, values: Sequence[torch.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.data.copy_(value)

    # --- a step ------------------------------------------------------------------------------

    def _steps(self) -> Iterator[list[list[Example]]]:
        """Endless shuffled passes over the training examples; each step with some rehearsal.

        A step is a few groups of similar lengths whose gradients are added up.
        """
        generator = torch.Generator().manual_seed(self._seed)
        size, data = self._settings.batch_size, self._data

        def shuffled(examples: Sequence[Example]) -> list[Example]:
            order = torch.randperm(len(examples), generator=generator).tolist()
            return [examples[i] for i in order]

        while True:
            order = shuffled(data.training)
            for start in range(0, len(order), size):
                groups = by_length(order[start : start + size])
                if data.rehearsal and self._settings.rehearsal:
                    groups.append(shuffled(data.rehearsal)[: self._settings.rehearsal])
                yield groups

    def _take_step(self, batches: Sequence[Batch]) -> None:
        # Five steps of warm-up, then constant: where early stopping stops is not known before.
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * min(1.0, self._step / 5)
        self._loss = self._accumulate([on_device(batch, self._device) for batch in batches])
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _accumulate(self, batches: Sequence[Batch]) -> float:
        """Add up the gradients of the mean loss over all of the batches' tokens; that loss."""
        tokens = [answer_tokens(batch) for batch in batches]
        total = 0.0
        for batch, count in zip(batches, tokens, strict=True):
            with torch.autocast(self._device, dtype=torch.bfloat16):
                loss = answer_loss(self._model, batch) * (count / sum(tokens))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _is_time_to_look(self) -> bool:
        if self._step == self._settings.max_steps:
            return True
        settings = self._settings
        return self._step >= settings.min_steps and self._step % settings.evaluate_every == 0

    def _look(self) -> None:
        kept = kept_back_loss(
            self._model,
            self._data.kept_back,
            self._settings.batch_size,
            self._pad_id,
            self._device,
        )
        if self._best_loss is None or kept < self._best_loss:
            self._best_loss, self._best_step = kept, self._step
            self._best = [p.detach().clone() for p in self._parameters]
            self._looks_without_gain = 0
        else:
            self._looks_without_gain += 1


def on_device(batch: Batch, device: str) -> Batch:
    return Batch(batch.ids.to(device), batch.labels.to(device))


@torch.no_grad()
def kept_back_loss(
    model: PeftModel, examples: Sequence[Example], size: int, pad_id: int, device: str
) -> float:
    """Mean clipped loss over the answers' tokens of examples that are not trained on."""
    model.eval()
    total, tokens = 0.0, 0
    for start in range(0, len(examples), size):
        batch = on_device(collate(examples[start : start + size], pad_id), device)
        count = answer_tokens(batch)
        with torch.autocast(device, dtype=torch.bfloat16):
            total += float(clipped_loss(model, batch)) * count
        tokens += count
    model.train()
    return total / max(1, tokens)
