"""The evidence of each trajectory, kept so that no model has to read it twice.

What is kept is bfloat16, and what is kept is what is used, so that a second distillation gives what
the first one gave. Where a trajectory has more rows than a key and a value have numbers, what is
summed becomes the triangular factor of [keys values]: the same sums from fewer rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rune_engine.models import Trajectory
from rune_engine.statistic_files import file_of, touch
from trainers.closed_form import files
from trainers.closed_form.evidence import Evidence
from trainers.tokens import Example

FORMAT = 1
"""Raised when the same trajectory would be read differently."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A trajectory's rows.

    Attributes:
        keys: what is summed, [rows, width].
        values: theirs, [rows, hidden size].
        judged: tokens that a solution is judged by; all of them, unless the rows were compressed.
    """

    keys: Tensor
    values: Tensor
    judged: Evidence

    @classmethod
    def of(cls, evidence: Evidence, values: Tensor) -> Kept:
        """As it is kept; exactly the same sums, from at most width + hidden size rows."""
        keys, values = evidence.keys.bfloat16(), values.bfloat16()
        judged = Evidence(keys, evidence.states.bfloat16(), evidence.tokens)
        most = keys.shape[1] + values.shape[1]
        if len(keys) <= most:
            return cls(keys, values, judged)
        factor = torch.linalg.qr(torch.cat([keys, values], dim=1).double(), mode="r").R.float()
        split = keys.shape[1]
        return cls(factor[:, :split], factor[:, split:], judged.spread(most // 2))


class Store:
    """The kept trajectories of one base model.

    Args:
        folder: theirs; None keeps nothing.
        base: the base model's identity.
    """

    def __init__(self, folder: Path | None, base: str) -> None:
        self._folder = folder
        self._base = base

    def load(self, trajectory: Trajectory, examples: Sequence[Example]) -> Kept | None:
        """What was kept of the trajectory, if it was read as these examples by this base model."""
        if self._folder is None:
            return None
        path = file_of(self._folder, trajectory.content_hash)
        content = files.read(path, self._source(examples))
        if content is None:
            return None
        touch(path)
        tensors = content.tensors
        return Kept(
            tensors["keys"],
            tensors["values"],
            Evidence(
                tensors.get("judged_keys", tensors["keys"]),
                tensors["states"],
                tensors["tokens"].long(),
            ),
        )

    def keep(self, trajectory: Trajectory, examples: Sequence[Example], kept: Kept) -> None:
        """Write it down, in place of what may be there.

        Raises:
            DiskFullError, HomeNotWritableError: it cannot be written.
        """
        if self._folder is None:
            return
        tensors = {
            "keys": kept.keys,
            "values": kept.values,
            "states": kept.judged.states,
            "tokens": kept.judged.tokens.int(),
        }
        if kept.judged.keys is not kept.keys:
            tensors["judged_keys"] = kept.judged.keys
        path = file_of(self._folder, trajectory.content_hash)
        files.write(path, self._source(examples), files.Content(tensors, {}))

    def _source(self, examples: Sequence[Example]) -> str:
        """All that the rows follow from."""
        read = json.dumps([[example.ids, example.labels] for example in examples])
        return hashlib.sha256(f"{FORMAT}\n{self._base}\n{read}".encode()).hexdigest()
