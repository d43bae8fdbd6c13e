"""How much memory a hypernetwork takes to make an adapter, once the trajectories have been read.

The estimate, in bytes, for N rows taught and m known, keys w, values h and a network d wide:

    rows      4 N (5 w + 10 h)       as features, joined, corrected and weighted
    network   64 N d                 what its layers hold at once
    solve     8 (N + m) w + 40 w^2   float64, over sums
              8 (N + m) w + 32 (N + m)^2   over products of rows

and a tenth of it all. In training float32 rows, activations and gradients of a step's projects are
held at once, and the base model's output embedding; lessons lie on disk and are read when needed.
"""

from __future__ import annotations

from trainers import memory
from trainers.closed_form.choosing import is_wide
from trainers.closed_form.gathering import Gathered
from trainers.closed_form.memory import require as require_room
from trainers.hypernetwork.settings import HypernetworkSettings

_SLACK = 1.1


def estimate(settings: HypernetworkSettings, rows: int) -> int:
    """Bytes that making an adapter from so many rows adds; see the module."""
    width, every = settings.width, rows + settings.known
    features = 4 * rows * (5 * width + 10 * settings.outputs) + 64 * rows * settings.hidden
    square = 32 * every**2 if is_wide(width, every) else 40 * width**2
    return int(_SLACK * (features + 8 * every * width + square))


def require(settings: HypernetworkSettings, gathered: Gathered, limit: int | None) -> int:
    """The peak that is reckoned with, bytes.

    Raises:
        TrainingError: it does not fit into the user's limit.
        DeviceMemoryError: it does not fit into what is free now.
    """
    need = estimate(settings, sum(len(kept.judged) for kept in gathered.kept))
    room = memory.room_for("cpu", limit)
    require_room(need, room)
    return room.held + need
