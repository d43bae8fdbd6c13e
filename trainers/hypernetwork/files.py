"""A hypernetwork's two files: written so that what lies there says whose it is, read strictly.

Large tensors are kept in bfloat16; single numbers and vectors as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from base_models.hypernetworks import (
    DESCRIPTION,
    FOLDER,
    WEIGHTS,
    DamagedHypernetworkError,
    ForeignHypernetworkError,
    HypernetworkFolder,
    examine,
    of_base,
)
from rune_engine.errors import BaseModelCorruptedError, TrainingError
from trainers.closed_form.base_files import BaseShape
from trainers.closed_form.known import Known
from trainers.hypernetwork import network as networks
from trainers.hypernetwork.network import Hypernetwork
from trainers.hypernetwork.settings import HypernetworkSettings


def write(network: Hypernetwork, folder: Path, base: str) -> None:
    """Leave the network in a folder of its own.

    Args:
        base: the identity of the base model that it was trained for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: _kept(tensor) for name, tensor in network.state_dict().items()}
    data = save(tensors, {"format": "pt"})
    told = {
        "base": base,
        "sha256": hashlib.sha256(data).hexdigest(),
        "settings": network.settings.model_dump(mode="json"),
    }
    _replace(folder / WEIGHTS, data)
    _replace(folder / DESCRIPTION, (json.dumps(told, indent=1) + "\n").encode())


def read(folder: Path) -> Hypernetwork:
    """What `write` left, in float32.

    Raises:
        FileNotFoundError: nothing was.
        BaseModelCorruptedError: it cannot be read.
    """
    try:
        return _loaded(examine(folder))
    except DamagedHypernetworkError as error:
        raise _damaged(error) from error


def read_of_base(base_model: Path, shape: BaseShape) -> Hypernetwork:
    """The hypernetwork of a base model's folder.

    Raises:
        TrainingError: it has none, or one that was made for another model.
        BaseModelCorruptedError: it cannot be read.
    """
    other = "Distill with the method `closed_form`, which needs none."
    try:
        found = of_base(base_model)
    except ForeignHypernetworkError as error:
        raise TrainingError(str(error), next_step=other) from error
    except DamagedHypernetworkError as error:
        raise _damaged(error) from error
    if found is None:
        raise TrainingError(
            f"The base model in {base_model} has no hypernetwork.",
            next_step=f"{other} `python -m trainers.hypernetwork.train` trains one for the folder "
            f"`{FOLDER}`.",
        )
    network = _loaded(found)
    if not network.settings.fits(shape):
        raise TrainingError(
            f"The hypernetwork in {found.path} is for a model of another shape.", next_step=other
        )
    return network


def _loaded(found: HypernetworkFolder) -> Hypernetwork:
    try:
        settings = HypernetworkSettings.model_validate(found.settings)
        network = networks.make(settings, Known(torch.zeros(settings.known, settings.width)))
        network.load_state_dict(load_file(found.weights))
    except (ValidationError, SafetensorError, RuntimeError) as error:
        raise _damaged(error) from error
    return network.eval()


def _damaged(error: Exception) -> BaseModelCorruptedError:
    return BaseModelCorruptedError(
        f"The base model's hypernetwork cannot be used: {error}",
        next_step="Get the base model again, or distill with the method `closed_form`.",
    )


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.bfloat16() if tensor.ndim > 1 else tensor).contiguous()


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
