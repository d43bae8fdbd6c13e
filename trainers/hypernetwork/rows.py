"""A project's trajectories as rows of features, in chunks that begin where an attempt does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.closed_form.evidence import Evidence
from trainers.closed_form.output import Output


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one project.

    Attributes:
        keys: [rows, width].
        states: [rows, outputs], before the final norm.
        values: [rows, outputs], the closed form's.
        right: embeddings of the right tokens, [rows, outputs].
        losses: of the base model, nats, [rows].
        chunks: which attempt each row is of, ascending, [rows].
    """

    keys: torch.Tensor
    states: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor
    losses: torch.Tensor
    chunks: torch.Tensor

    def __len__(self) -> int:
        return len(self.losses)

    def of_chunks(self, wanted: Sequence[int]) -> Rows:
        """The rows of some attempts."""
        chosen = torch.isin(self.chunks, torch.tensor(list(wanted)))
        return Rows(*(getattr(self, name)[chosen] for name in self.__slots__))

    def float(self) -> Rows:
        """In float32, where they were kept in less."""
        as_float = {
            name: getattr(self, name).float() for name in self.__slots__ if name != "chunks"
        }
        return Rows(**as_float, chunks=self.chunks)


def read_rows(output: Output, evidence: Sequence[Evidence]) -> Rows:
    """Rows of attempts, each with its evidence."""
    joined = Evidence.joined(evidence)
    chunks = [torch.full((len(each),), number) for number, each in enumerate(evidence)]
    return Rows(
        keys=joined.keys,
        states=joined.states,
        values=output.values(joined),
        right=output.embeddings(joined.tokens),
        losses=output.losses(joined),
        chunks=torch.cat(chunks),
    )
