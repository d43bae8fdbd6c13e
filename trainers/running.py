"""How a step's examples go through a network: packed where its kind is known, padded elsewhere.

Either way a step is cut into micro-batches of at most so many tokens, whose gradients are added up.
Knows networks and tokens; nothing of optimizers, files or jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from trainers import packed
from trainers.head import token_losses
from trainers.precision import autocast
from trainers.tokens import Batch, Example, answer_tokens, by_length, collate
from trainers.tokens import token_losses as padded_losses

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True, slots=True)
class Cut:
    """How much of a step is in memory at once.

    Attributes:
        tokens: in a micro-batch at most, padding included; one example is never cut.
        checkpointed: whether only the layers' inputs are kept for the gradient.
    """

    tokens: int = 4096
    checkpointed: bool = False


class Micro(Protocol):
    """A micro-batch: how many targets it has, and the cross-entropy of each, (targets,)."""

    @property
    def targets(self) -> int: ...

    def losses(self) -> Tensor: ...


class Runner(Protocol):
    """Cuts examples into micro-batches."""

    def micro_batches(self, examples: Sequence[Example]) -> Iterator[Micro]: ...


def runner_for(model: PeftModel, pad_id: int, device: str, cut: Cut) -> Runner:
    """The fastest way for this network: packed on a processor, if it is one of the known kinds."""
    network = model.get_base_model()
    if device == "cpu" and packed.is_known(network):
        return PackedRunner(network, pad_id, cut)
    if cut.checkpointed:
        network.gradient_checkpointing_enable({"use_reentrant": False})
        network.enable_input_require_grads()
    return PaddedRunner(model, pad_id, device, cut)


@dataclass(frozen=True, slots=True)
class _Packed:
    network: Any
    batch: packed.Pack
    checkpointed: bool

    @property
    def targets(self) -> int:
        return self.batch.targets

    def losses(self) -> Tensor:
        states = packed.target_states(self.network, self.batch, checkpointed=self.checkpointed)
        return token_losses(self.network.get_output_embeddings(), states, self.batch.labels)


class PackedRunner:
    """Examples end to end, the short ones first."""

    def __init__(self, network: Any, pad_id: int, cut: Cut) -> None:
        self._network = network
        self._pad_id = pad_id
        self._cut = cut

    def micro_batches(self, examples: Sequence[Example]) -> Iterator[Micro]:
        for part in filled(examples, self._cut.tokens):
            yield _Packed(self._network, packed.pack(part, self._pad_id), self._cut.checkpointed)


@dataclass(frozen=True, slots=True)
class _Padded:
    model: Any
    batch: Batch
    device: str

    @property
    def targets(self) -> int:
        return answer_tokens(self.batch)

    def losses(self) -> Tensor:
        with autocast(self.device):
            return padded_losses(self.model, self.batch)


class PaddedRunner:
    """Examples of similar lengths in a batch, filled up to the longest of them."""

    def __init__(self, model: PeftModel, pad_id: int, device: str, cut: Cut) -> None:
        self._model = model
        self._pad_id = pad_id
        self._device = device
        self._cut = cut

    def micro_batches(self, examples: Sequence[Example]) -> Iterator[Micro]:
        for group in by_length(examples):
            rows = max(1, self._cut.tokens // max(len(example.ids) for example in group))
            for start in range(0, len(group), rows):
                batch = collate(group[start : start + rows], self._pad_id)
                moved = Batch(batch.ids.to(self._device), batch.labels.to(self._device))
                yield _Padded(self._model, moved, self._device)


def filled(examples: Sequence[Example], tokens: int) -> list[list[Example]]:
    """The examples by length, in about equal parts of at most `tokens` each.

    An example that is longer than that is a part of its own.
    """
    ordered = sorted(examples, key=lambda example: len(example.ids))
    whole = sum(len(example.ids) for example in ordered)
    share = whole / max(1, -(-whole // tokens))
    parts: list[list[Example]] = []
    held = 0
    for example in ordered:
        length = len(example.ids)
        if not parts or held + length > tokens or held >= share:
            parts.append([])
            held = 0
        parts[-1].append(example)
        held += length
    return parts
