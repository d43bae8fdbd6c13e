"""One phase of training an adapter: steps over examples, until the kept-back loss stops falling.

Can tell where it is and go on from there, with the same steps to come. Knows no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from trainers import dataset, lora
from trainers.checkpoint import Snapshot
from trainers.protocol import Report
from trainers.running import Micro, Runner
from trainers.settings import DirectSettings
from trainers.tokens import Example

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True, slots=True)
class Fit:
    """How one run of training went; losses are nats per token of the answers."""

    steps: int
    training_loss: float
    kept_back_loss: float | None


class Fitting:
    """Trains the adapter of `model` in place.

    Args:
        runner: how examples go through that model.
        data: what is trained on, and what is looked at to stop early.
        seed: of the order of the examples.
    """

    def __init__(
        self,
        model: PeftModel,
        runner: Runner,
        data: dataset.Split,
        settings: DirectSettings,
        seed: int,
    ) -> None:
        self._model = model
        self._runner = runner
        self._data = data
        self._settings = settings
        self._seed = seed
        self._parameters = lora.trainable(model)
        self._on_gpu = self._parameters[0].is_cuda
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
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
        for examples in islice(self._steps(), self._step, None):
            if self._step >= last or self._looks_without_gain >= self._settings.patience:
                break
            self._step += 1
            self._take_step(examples)
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
        if self._on_gpu:
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
        if self._on_gpu and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])

    def _set_parameters(self, values: Sequence[torch.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.data.copy_(value)

    # --- a step ------------------------------------------------------------------------------

    def _steps(self) -> Iterator[list[Example]]:
        """Endless shuffled passes over the training examples; each step with some rehearsal."""
        generator = torch.Generator().manual_seed(self._seed)
        size, data = self._settings.batch_size, self._data

        def shuffled(examples: Sequence[Example]) -> list[Example]:
            order = torch.randperm(len(examples), generator=generator).tolist()
            return [examples[i] for i in order]

        while True:
            order = shuffled(data.training)
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                if data.rehearsal and self._settings.rehearsal:
                    chosen = chosen + shuffled(data.rehearsal)[: self._settings.rehearsal]
                yield chosen

    def _take_step(self, examples: Sequence[Example]) -> None:
        # Five steps of warm-up, then constant: where early stopping stops is not known before.
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * min(1.0, self._step / 5)
        self._loss = self._accumulate(list(self._runner.micro_batches(examples)))
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _accumulate(self, batches: Sequence[Micro]) -> float:
        """Add up the gradients of the mean loss over all of the batches' targets; that loss."""
        targets = max(1, sum(batch.targets for batch in batches))
        total = 0.0
        for batch in batches:
            loss = batch.losses().sum() / targets
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
            self._model, self._runner, self._data.kept_back, self._settings.batch_size
        )
        if self._best_loss is None or kept < self._best_loss:
            self._best_loss, self._best_step = kept, self._step
            self._best = [p.detach().clone() for p in self._parameters]
            self._looks_without_gain = 0
        else:
            self._looks_without_gain += 1


@torch.no_grad()
def kept_back_loss(
    model: PeftModel, runner: Runner, examples: Sequence[Example], size: int
) -> float:
    """Mean loss over the targets of examples that are not trained on, each cut at a blind guess's.

    A guess costs ln(vocabulary): so a token that nobody could know (a name that only the kept-back
    task has) does not outweigh all others by how firmly it was thought to be another.
    """
    guess = math.log(model.get_base_model().get_output_embeddings().out_features)
    model.eval()
    total, targets = 0.0, 0
    for start in range(0, len(examples), size):
        for batch in runner.micro_batches(examples[start : start + size]):
            total += float(batch.losses().clamp(max=guess).sum())
            targets += batch.targets
    model.train()
    return total / max(1, targets)
