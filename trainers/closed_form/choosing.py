"""How hard to teach: the ridge and the strength under which trajectories teach those left out.

Costs no further pass through a model: a solution's effect on the last state is exact, and the loss
follows from that. Knows nothing of files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.closed_form.evidence import Evidence
from trainers.closed_form.kept import Kept
from trainers.closed_form.known import Known
from trainers.closed_form.output import Output
from trainers.closed_form.settings import ClosedFormSettings, middle
from trainers.closed_form.statistics import LowRank, Products, Statistics, solve

WIDEST_SUMS = 4096
"""Keys wider than this are not summed, unless there are more rows than they are wide."""
MOST_NATS = 3.0
"""What one token counts at most: a name that was never shown cannot be known, however well chosen
the settings are."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings, and the mean loss of the tokens left out under them and without any memory."""

    ridge: float
    strength: float
    loss: float | None = None
    loss_before: float | None = None


class Lesson:
    """The rows of all trajectories, in parts of which one may be left out.

    Args:
        parts: of the trajectories; together all of them.
        wide: whether to solve over products of rows rather than sums over them.
    """

    def __init__(
        self, parts: Sequence[Sequence[Kept]], known: Known, *, wide: bool | None = None
    ) -> None:
        self._sizes = [sum(len(kept.keys) for kept in part) for part in parts]
        keys = torch.cat([kept.keys.float() for part in parts for kept in part])
        values = torch.cat([kept.values.float() for part in parts for kept in part])
        self._products = None
        if is_wide(keys.shape[1], self.rows + len(known.rows)) if wide is None else wide:
            self._products = Products.of(keys, values, known.rows, known.rest)
        else:
            self._mean = known.mean()
            self._keys, self._values = keys, values
            self._sums = Statistics.of(keys, values)
            self._last: tuple[int, Statistics] | None = None

    @property
    def rows(self) -> int:
        return sum(self._sizes)

    def solve(self, ridge: float, rank: int, without: int | None = None) -> LowRank:
        """The update of strength one, from every part or from all but one."""
        if self._products is not None:
            left_out = self._span(without)
            numbers = torch.arange(self.rows)
            used = numbers[(numbers < left_out.start) | (numbers >= left_out.stop)]
            return self._products.solve(ridge, 1.0, rank, used)
        return solve(self._without(without), self._mean, ridge, 1.0, rank)

    def _without(self, part: int | None) -> Statistics:
        """The sums of the other parts; those asked for last are remembered."""
        if part is None:
            return self._sums
        if self._last is None or self._last[0] != part:
            span = self._span(part)
            left_out = Statistics.of(self._keys[span], self._values[span])
            self._last = (part, self._sums - left_out)
        return self._last[1]

    def _span(self, part: int | None) -> slice:
        if part is None:
            return slice(0, 0)
        start = sum(self._sizes[:part])
        return slice(start, start + self._sizes[part])


def is_wide(width: int, rows: int) -> bool:
    """Whether products of these rows are solved over rather than sums over them."""
    return width > WIDEST_SUMS and rows <= width


def folded(tasks: Sequence[str], folds: int, seed: int) -> list[list[int]]:
    """The numbers of the trajectories with these tasks in at most so many parts.

    Which part a task is in follows from the seed and the tasks alone; equal ones are in one part.
    """
    ordered = sorted(
        set(tasks), key=lambda task: hashlib.sha256(f"{seed}:{task}".encode()).digest()
    )
    place = {task: number % folds for number, task in enumerate(ordered)}
    parts: list[list[int]] = [[] for _ in range(min(folds, len(ordered)))]
    for number, task in enumerate(tasks):
        parts[place[task]].append(number)
    return parts


def choose(
    lesson: Lesson,
    judged: Sequence[Evidence],
    output: Output,
    settings: ClosedFormSettings,
    rank: int,
    unit: float,
) -> Choice:
    """The candidates under which each part is taught best by the others.

    Args:
        judged: the tokens of each of the lesson's parts.
        unit: nats of a value alone, see `Output.unit`.
    """
    if len(judged) < 2:
        return Choice(middle(settings.ridges), middle(settings.strengths))
    totals = {(r, s): 0.0 for r in settings.ridges for s in settings.strengths}
    before = sum(_counted(output.losses(part)) for part in judged)
    for number, part in enumerate(judged):
        for ridge in settings.ridges:
            moves = lesson.solve(ridge, rank, without=number).moves(part.keys)
            for strength in settings.strengths:
                losses = output.losses(part, moves * (strength / unit))
                totals[ridge, strength] += _counted(losses)
    (ridge, strength), least = min(totals.items(), key=lambda item: item[1])
    tokens = sum(map(len, judged))
    return Choice(ridge, strength, least / tokens, before / tokens)


def _counted(losses: torch.Tensor) -> float:
    return float(losses.clamp(max=MOST_NATS).double().sum())
