"""A base model's folder, read without loading the model: its identity, and single tensors of it.

Knows safetensors and the shape that the closed form needs, that of Qwen2.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig

from rune_engine.errors import TrainingError
from trainers import packed

_ONE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_WHOLE_BYTES = 256 * 1024**2
_BLOCK = 64 * 1024
_BLOCKS = 64


@dataclass(frozen=True, slots=True)
class BaseShape:
    """What the closed form has to know of a model's shape.

    Attributes:
        width: the input of a `down_proj`; `hidden` is its output.
        epsilon: of the final norm.
        tied: whether the output embedding is the input's.
        longest: tokens that the model can read at once.
    """

    layers: int
    hidden: int
    width: int
    vocabulary: int
    epsilon: float
    tied: bool
    longest: int

    @property
    def target(self) -> str:
        """The projection that is updated, as an adapter's `target_modules` names it."""
        return f"layers.{self.layers - 1}.mlp.down_proj"


def shape_of(folder: Path) -> BaseShape:
    """Read the shape from the folder's configuration.

    Raises:
        TrainingError: it is not a model of Qwen2's shape, so there is no closed form for it.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in packed.FAMILY:
        known = ", ".join(sorted(packed.FAMILY))
        raise _refused(f"its kind is {config.model_type!r}, and only {known} are known to be so")
    return BaseShape(
        layers=int(config.num_hidden_layers),
        hidden=int(config.hidden_size),
        width=int(config.intermediate_size),
        vocabulary=int(config.vocab_size),
        epsilon=float(config.rms_norm_eps),
        tied=bool(config.tie_word_embeddings),
        longest=int(config.max_position_embeddings),
    )


def tensor(folder: Path, name: str) -> torch.Tensor:
    """One tensor of the folder's weights, in the precision that it is kept in.

    Raises:
        TrainingError: the weights have none of that name.
    """
    for file in _weights(folder):
        with safe_open(file, framework="pt") as weights:
            if name in weights.keys():  # noqa: SIM118 - it is no mapping
                found: torch.Tensor = weights.get_tensor(name)
                return found
    raise _refused(f"its weights have no {name}")


def identity(folder: Path) -> str:
    """A hash that tells base models apart: configuration and weights.

    Of files above 256 MiB the hash is over their header and 64 blocks spread over the rest: another
    training changes every block.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in _weights(folder):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as data:
            if size <= _WHOLE_BYTES:
                digest.update(data.read())
                continue
            for number in range(_BLOCKS + 1):
                data.seek(number * (size - _BLOCK) // _BLOCKS)
                digest.update(data.read(_BLOCK))
    return digest.hexdigest()


def _weights(folder: Path) -> list[Path]:
    """The files that Transformers loads."""
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        return [folder / name for name in sorted(set(index["weight_map"].values()))]
    if (folder / _ONE_FILE).is_file():
        return [folder / _ONE_FILE]
    raise TrainingError(
        f"{folder} has no weights in safetensors.", next_step="Convert the base model to them."
    )


def _refused(why: str) -> TrainingError:
    return TrainingError(
        f"The closed form needs a base model shaped like Qwen2: {why}.",
        next_step="Distill with the method `lora`, which takes any model.",
    )
