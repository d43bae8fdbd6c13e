"""A base model's folder, read without loading the model: its identity, and single tensors of it.

Knows safetensors and the shape that the closed form needs, that of Qwen2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig

from base_models.identity import FAMILY, identity_of, weights_of
from rune_engine.errors import TrainingError


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
    if config.model_type not in FAMILY:
        known = ", ".join(sorted(FAMILY))
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
    """A hash that tells base models apart; see `base_models.identity`.

    Raises:
        TrainingError: its weights are not safetensors.
    """
    try:
        return identity_of(folder)
    except FileNotFoundError as error:
        raise _unconverted(error) from error


def _weights(folder: Path) -> list[Path]:
    """The files that Transformers loads."""
    try:
        return weights_of(folder)
    except FileNotFoundError as error:
        raise _unconverted(error) from error


def _unconverted(error: FileNotFoundError) -> TrainingError:
    return TrainingError(str(error), next_step="Convert the base model to safetensors.")


def _refused(why: str) -> TrainingError:
    return TrainingError(
        f"The closed form needs a base model shaped like Qwen2: {why}.",
        next_step="Distill with the method `lora`, which takes any model.",
    )
