"""How much memory a closed-form distillation takes: a forward pass's and a solve's.

The estimate, in bytes, for n parameters of hidden size h, inner size w and v entries in the
vocabulary; t tokens of the longest example; N rows taught and m known, from a answer tokens where
that has to be measured; p bytes a parameter:

    process   what this process holds already
    output    p v h + 12 c v + 4 min(2^25, v h)   embedding; logits of c rows, and a block of it
    model     p n + t (24 h + 16 w)            only where something has to be read
              8 a w + 32 min(a, w)^2           only where what is known has to be measured
    rows      N (2 w + 4 h)                    as they are kept, bfloat16
    solve     8 (N + m) w + 40 w^2             over sums: float32 rows, five squares in float64
              8 (N + m) w + 32 (N + m)^2       over products of rows
              48 h^2 + 16 N h                  either way

The peak is process + output + rows + the larger one of model and solve, and a tenth of it all.
"""

from __future__ import annotations

from dataclasses import dataclass

from rune_engine.errors import DeviceMemoryError, TrainingError
from trainers.closed_form.base_files import BaseShape
from trainers.closed_form.choosing import is_wide
from trainers.closed_form.output import LOGITS
from trainers.memory import Room, gigabytes

_SLACK = 1.1


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a distillation adds to what its process holds.

    Attributes:
        model: the output's end, and the forward pass if there is one; on the accelerator, if any.
        rest: rows and solve; always in the machine's memory.
    """

    model: int
    rest: int

    def on(self, device: str) -> int:
        """Of the memory that the model is in; a processor has but one."""
        return self.model if device == "cuda" else self.model + self.rest


def estimate(
    shape: BaseShape,
    parameters: int,
    item_bytes: int,
    *,
    longest: int,
    rows: int,
    known: int,
    asked: int,
) -> Need:
    """What it takes; see the module.

    Args:
        parameters: of the model; 0 if nothing has to be read.
        longest: tokens of the longest example that has to be read.
        asked: answer tokens that tell what is known; 0 if that is known.
    """
    width, hidden = shape.width, shape.hidden
    vocabulary, chunk = shape.vocabulary, min(rows, max(16, LOGITS // shape.vocabulary))
    block = min(LOGITS, vocabulary * hidden)
    output = item_bytes * vocabulary * hidden + 12 * chunk * vocabulary + 4 * block
    model = item_bytes * parameters + longest * (24 * hidden + 16 * width)
    model += 8 * asked * width + 32 * min(asked, width) ** 2
    every = rows + known
    square = 32 * every**2 if is_wide(width, every) else 40 * width**2
    solve = 8 * every * width + square + 48 * hidden**2 + 16 * rows * hidden
    kept = rows * (2 * width + 4 * hidden)
    # A solve begins when the model is gone; on one memory only the larger one counts.
    return Need(int(_SLACK * (output + model)), int(_SLACK * (kept + max(0, solve - model))))


def require(need: int, room: Room) -> None:
    """Refuse a distillation that does not fit.

    Raises:
        TrainingError: it does not fit into the user's limit.
        DeviceMemoryError: it does not fit into what is free now.
    """
    if need <= room.free:
        return
    whose = "its limit leaves" if room.limited else "is free"
    message = (
        f"The distillation needs about {gigabytes(need)} of memory; {gigabytes(room.free)} {whose}."
    )
    first = "Raise `training_memory_bytes`" if room.limited else "Close other programs"
    kind = TrainingError if room.limited else DeviceMemoryError
    raise kind(message, next_step=f"{first}, or use a smaller base model.")
