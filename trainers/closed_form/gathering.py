"""Brings together what a solve needs: from what was kept, and from the model for what is new.

The model is loaded only if something has to be read. Each trajectory is kept as soon as it was
read, so a distillation that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from rune_engine.models import TrainerJob, Trajectory
from rune_engine.statistic_files import KNOWN, folder_of, tidy
from trainers import memory
from trainers.closed_form import base_files, known
from trainers.closed_form.evidence import Reader
from trainers.closed_form.kept import Kept, Store
from trainers.closed_form.known import Known, answer_tokens
from trainers.closed_form.memory import estimate, require
from trainers.closed_form.output import Output
from trainers.precision import computed_in
from trainers.protocol import Report
from trainers.settings import SMALL, DirectSettings
from trainers.tokens import Example


@dataclass(frozen=True, slots=True)
class Session:
    """A trajectory and its examples."""

    trajectory: Trajectory
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is solved over.

    Attributes:
        kept: of each session, in their order.
        newly_read: sessions that the model had to read.
        estimated: bytes, the peak that was reckoned with.
    """

    kept: list[Kept]
    known: Known
    output: Output
    newly_read: int
    estimated: int


class Gathering:
    """One job's way to its evidence."""

    def __init__(
        self,
        job: TrainerJob,
        shape: base_files.BaseShape,
        tokenizer: PreTrainedTokenizerBase,
        device: str,
        report: Report,
    ) -> None:
        self._folder = Path(job.base_model_path)
        self._limit = job.memory_limit_bytes
        self._shape = shape
        self._tokenizer = tokenizer
        self._device = device
        self._report = report
        self._base = base_files.identity(self._folder)
        root = job.statistics_path
        self._kept_in = folder_of(Path(root), job.base_model_id) if root else None
        self._store = Store(self._kept_in, self._base)

    def run(self, sessions: Sequence[Session]) -> Gathered:
        """Read what is new and remember the rest.

        Raises:
            TrainingError, DeviceMemoryError: it does not fit into memory; nothing was loaded.
            DiskFullError, HomeNotWritableError: what was read cannot be kept.
        """
        kept = [self._store.load(each.trajectory, each.examples) for each in sessions]
        base = known.load(self._known_files(), self._base)
        new = [number for number, each in enumerate(kept) if each is None]
        asked = [] if base else known.examples(self._folder, self._tokenizer)
        unread = asked + [e for number in new for e in sessions[number].examples]
        dtype, estimated = self._fit(unread, answer_tokens(asked), _tokens(sessions))
        output = Output.load(self._folder, self._shape, self._device)
        if unread:
            self._report(0.02, f"reads {len(new)} of {len(sessions)} trajectories")
            reader = Reader.load(self._folder, self._device, dtype)
            base = base or self._know(reader, asked)
            for done, number in enumerate(new):
                kept[number] = self._read(reader, output, sessions[number])
                self._report(0.1 + 0.5 * (done + 1) / len(new), f"{done + 1} of {len(new)} read")
            if self._kept_in is not None:
                tidy(self._kept_in.parent)
        assert base is not None
        return Gathered([k for k in kept if k is not None], base, output, len(new), estimated)

    def _known_files(self) -> list[Path]:
        """The base model's own, and the home's."""
        shipped = self._folder / known.SHIPPED
        return [shipped, self._kept_in / KNOWN] if self._kept_in else [shipped]

    def _fit(self, unread: Sequence[Example], asked: int, rows: int) -> tuple[torch.dtype, int]:
        """The precision of the model, and the peak; refuses what is too much."""
        parameters = memory.shape_of(self._folder, DirectSettings(), self._device).parameters
        dtype = (
            torch.float32
            if parameters < SMALL
            else computed_in(self._device, parameters, packs=False)
        )
        need = estimate(
            self._shape,
            parameters if unread else 0,
            dtype.itemsize,
            longest=max((len(example.ids) for example in unread), default=0),
            rows=rows,
            known=known.MOST_ROWS,
            asked=asked,
        )
        room = memory.room_for(self._device, self._limit)
        require(need.on(self._device), room)
        if self._device == "cuda":
            require(need.rest, memory.room_for("cpu", self._limit))
        return dtype, room.held + need.on(self._device)

    def _know(self, reader: Reader, asked: Sequence[Example]) -> Known:
        self._report(0.04, "reads what the base model knows, once")
        found = known.compute(reader, asked)
        if self._kept_in is not None:
            known.keep(self._kept_in / KNOWN, self._base, found)
        return found

    def _read(self, reader: Reader, output: Output, session: Session) -> Kept:
        evidence = reader.read(session.examples)
        kept = Kept.of(evidence, output.values(evidence))
        self._store.keep(session.trajectory, session.examples, kept)
        return kept


def _tokens(sessions: Sequence[Session]) -> int:
    """Of their answers."""
    return sum(answer_tokens(session.examples) for session in sessions)
