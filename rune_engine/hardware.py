"""What this machine has to compute on, told without loading any library for it."""

from __future__ import annotations

from pathlib import Path

_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""NVIDIA, AMD, and either of them inside WSL: what PyTorch calls `cuda`."""


def has_accelerator() -> bool:
    """Whether the model worker and the trainers would find an accelerator, and so share it."""
    return any(Path(device).exists() for device in _DEVICES)
