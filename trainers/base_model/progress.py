"""Where a run of rune-nano stands: checkpoints (safetensors and JSON), and running means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM


class Progress:
    """A run's folder. A checkpoint is written beside the last one and takes its place at once."""

    def __init__(
        self, out: Path, network: Qwen2ForCausalLM, optimizers: Sequence[torch.optim.Optimizer]
    ) -> None:
        self._out = out
        self._network = network
        self._optimizers = optimizers
        self._means: dict[int, float] = {}

    def add(self, losses: Sequence[float]) -> None:
        """The losses of a step, each of which has a running mean."""
        if len(losses) != len(self._means):
            self._means = dict(enumerate(losses))
        for index, loss in enumerate(losses):
            self._means[index] = 0.98 * self._means[index] + 0.02 * loss

    def means(self) -> str:
        return "loss " + " ".join(f"{mean:.4f}" for mean in self._means.values())

    def save(self, step: int) -> None:
        """Keep everything that going on from here needs, in one file that is whole or the old."""
        state = {
            f"optimizer.{number}.{index}.{name}": torch.as_tensor(value)
            for number, optimizer in enumerate(self._optimizers)
            for index, values in optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        weights = {f"weights.{n}": p.detach() for n, p in self._network.named_parameters()}
        file = self._out / "checkpoint.safetensors"
        new = file.with_suffix(".new")
        save_file(state | weights, new, {"progress": json.dumps({"step": step})})
        new.replace(file)
        self._network.save_pretrained(self._out)

    def resume(self) -> int:
        """Load the last checkpoint; returns how many steps were done."""
        file = self._out / "checkpoint.safetensors"
        if not file.exists():
            return 0
        saved = load_file(file)
        with torch.no_grad():
            for name, parameter in self._network.named_parameters():
                parameter.copy_(saved[f"weights.{name}"])
        states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in self._optimizers]
        for key, value in saved.items():
            if key.startswith("optimizer."):
                _, number, index, name = key.split(".", 3)
                states[int(number)].setdefault(int(index), {})[name] = value
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return _step_of(file)


def _step_of(file: Path) -> int:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return int(json.loads(opened.metadata()["progress"])["step"])
