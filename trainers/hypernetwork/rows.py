"""A project's trajectories as rows of features, in chunks that begin where a trajectory does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.closed_form.evidence import Evidence
from trainers.closed_form.kept import Kept
from trainers.closed_form.output import Output


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one project, float32.

    Attributes:
        keys: [rows, width].
        states: [rows, outputs], before the final norm.
        tokens: the right ones, [rows].
        values: [rows, outputs], the closed form's.
        right: embeddings of the right tokens, [rows, outputs].
        losses: of the base model, nats, [rows].
        chunks: which trajectory each row is of, ascending, [rows].
    """

    keys: torch.Tensor
    states: torch.Tensor
    tokens: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor
    losses: torch.Tensor
    chunks: torch.Tensor

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def trajectories(self) -> int:
        """How many there are."""
        return int(self.chunks[-1]) + 1

    def unit(self, epsilon: float) -> torch.Tensor:
        """By how many nats a value raises its own token's margin; see `Output.unit`."""
        size = (self.states.square().mean(-1) + epsilon).sqrt()
        nats = self.values.square().sum(-1) / size
        surprising = self.losses > math.log(2)
        return (nats[surprising] if surprising.any() else nats).mean().clamp(min=1e-9)

    def of_chunks(self, wanted: Sequence[int]) -> Rows:
        """The rows of some trajectories."""
        chosen = torch.isin(self.chunks, torch.tensor(list(wanted)))
        return Rows(*(getattr(self, name)[chosen] for name in self.__slots__))


def kept_of(rows: Rows) -> list[Kept]:
    """The trajectories of rows, as the closed form takes them."""
    found = []
    for number in range(rows.trajectories):
        part = rows.of_chunks([number])
        found.append(Kept(part.keys, part.values, Evidence(part.keys, part.states, part.tokens)))
    return found


def rows_of(output: Output, kept: Sequence[Kept]) -> Rows:
    """Rows of trajectories as they are kept.

    Of one that was too long to be kept whole these are the rows that were, spread evenly.
    """
    judged = Evidence.joined([each.judged for each in kept])
    evidence = Evidence(judged.keys.float(), judged.states.float(), judged.tokens)
    values = [
        each.values.float() if each.judged.keys is each.keys else output.values(each.judged)
        for each in kept
    ]
    chunks = [torch.full((len(each.judged),), number) for number, each in enumerate(kept)]
    return Rows(
        keys=evidence.keys,
        states=evidence.states,
        tokens=evidence.tokens,
        values=torch.cat(values),
        right=output.embeddings(evidence.tokens),
        losses=output.losses(evidence),
        chunks=torch.cat(chunks),
    )
