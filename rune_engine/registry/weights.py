"""What an adapter's weights must look like, checked in pure Python before any loader sees them.

Knows the names and ranks that a plain LoRA's matrices have; no path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rune_engine.errors import InvalidInputError
from rune_engine.registry.lora_config import LoraAdapterConfig
from rune_engine.tensor_files import Matrix, TensorFileError, read_matrices

_MAGNITUDE = re.compile(r"(?P<module>[A-Za-z0-9_.]{1,500})\.lora_magnitude_vector(?:\.weight)?")
_NAME = re.compile(
    r"(?P<module>[A-Za-z0-9_.]{1,500})\.lora_(?:embedding_)?(?P<side>[AB])(?:\.weight)?"
)


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """An adapter as a trainer leaves it: weights (a file or its bytes), PEFT's configuration."""

    safetensors: Path | bytes
    config: dict[str, Any]


def check_weights(file: BinaryIO, size: int, lora: LoraAdapterConfig) -> None:
    """Check that `file`, of `size` bytes, holds exactly the tensors of the LoRA `lora`.

    Raises:
        InvalidInputError: it is not safetensors, or holds something else.
    """
    try:
        matrices = read_matrices(file, size, _MAGNITUDE if lora.use_dora else None)
    except TensorFileError as error:
        raise _unusable(str(error)) from error
    _check_names(matrices, lora)


def _check_names(matrices: dict[str, Matrix], lora: LoraAdapterConfig) -> None:
    """Every tensor is one half of a pair, for a target module, of the configuration's rank; or,
    with DoRA, the magnitudes beside it."""
    sides: dict[str, set[str]] = {}
    for name, matrix in matrices.items():
        module, side = _part(name, lora)
        if not any(f".{module}".endswith(f".{target}") for target in lora.target_modules):
            raise _unusable(f"{name!r} belongs to none of the target modules")
        if side in "AB" and matrix.shape[0 if side == "A" else 1] != lora.r:
            raise _unusable(f"{name!r} has shape {matrix.shape}, but the rank is {lora.r}")
        sides.setdefault(module, set()).add(side)
    lonely = [module for module, found in sides.items() if len(found) != 2 + lora.use_dora]
    if lonely or not sides:
        raise _unusable(f"{lonely[0]!r} lacks one of its matrices" if lonely else "it is empty")


def _part(name: str, lora: LoraAdapterConfig) -> tuple[str, str]:
    """The module that a tensor belongs to, and which of its parts it is: A, B or magnitude."""
    if match := _NAME.fullmatch(name):
        return match["module"], match["side"]
    if lora.use_dora and (match := _MAGNITUDE.fullmatch(name)):
        return match["module"], "magnitude"
    raise _unusable(f"{name!r} is not the name of a LoRA matrix")


def _unusable(problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"The adapter's weights cannot be used: {problem}.",
        next_step="Save the adapter again with PEFT's save_pretrained.",
    )
