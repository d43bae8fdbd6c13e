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

_NAME = re.compile(
    r"(?P<module>[A-Za-z0-9_.]{1,500})\.lora_(?:embedding_)?(?P<side>[AB]|magnitude_vector)"
    r"(?:\.weight)?"
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
        matrices = read_matrices(file, size)
    except TensorFileError as error:
        raise _unusable(str(error)) from error
    _check_names(matrices, lora)


def _check_names(matrices: dict[str, Matrix], lora: LoraAdapterConfig) -> None:
    """Every tensor is one half of a pair, for a target module, of the configuration's rank."""
    sides: dict[str, set[str]] = {}
    for name, matrix in matrices.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise _unusable(f"{name!r} is not the name of a LoRA matrix")
        module, side = match["module"], match["side"]
        if not any(f".{module}".endswith(f".{target}") for target in lora.target_modules):
            raise _unusable(f"{name!r} belongs to none of the target modules")
        if side == "magnitude_vector":
            if len(matrix.shape) != 1:
                raise _unusable(f"{name!r} has shape {matrix.shape}, which is no vector's")
        elif len(matrix.shape) != 2 or matrix.shape[0 if side == "A" else 1] != lora.r:
            raise _unusable(f"{name!r} has shape {matrix.shape}, but the rank is {lora.r}")
        sides.setdefault(module, set()).add(side)
    whole = {"A", "B", "magnitude_vector"} if lora.use_dora else {"A", "B"}
    lonely = [module for module, found in sides.items() if found != whole]
    if lonely or not sides:
        raise _unusable(
            f"{lonely[0]!r} lacks one of {sorted(whole)}, or has more" if lonely else "it is empty"
        )


def _unusable(problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"The adapter's weights cannot be used: {problem}.",
        next_step="Save the adapter again with PEFT's save_pretrained.",
    )
