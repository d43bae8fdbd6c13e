"""What a base model's products are computed in here. Knows devices, no model."""

from __future__ import annotations

import torch

from rune_engine.hardware import has_fast_bfloat16
from trainers.settings import SMALL


def computed_in(device: str, parameters: int, *, packs: bool) -> torch.dtype:
    """bfloat16 where that is no slower than float32, and not for small models that are not packed.

    Args:
        parameters: of the model.
        packs: whether `trainers.packed` runs it.
    """
    if device != "cpu":
        return torch.bfloat16
    wanted = packs or parameters >= SMALL
    return torch.bfloat16 if wanted and has_fast_bfloat16() else torch.float32


def autocast(device: str) -> torch.autocast:
    """Products in bfloat16 where the device computes them fast, as they are elsewhere."""
    enabled = computed_in(device, SMALL, packs=False) is torch.bfloat16
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)
