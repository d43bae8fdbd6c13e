"""An adapter's folder read as updates, module by module, and refused where it is no plain LoRA."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from rune_engine.errors import (
    AdapterBaseModelMismatchError,
    AdapterCorruptedError,
    MergeRefusedError,
)
from rune_engine.lora_settings import LoraSettings, parse_lora_settings
from rune_engine.models.merging import AdapterFolder
from trainers.closed_form.statistics import LowRank

_NAME = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_.]+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's updates by module path, with its scaling in B; float32."""

    id: str
    base_model_id: str
    target_modules: tuple[str, ...]
    updates: Mapping[str, LowRank]


def read(folder: AdapterFolder) -> Adapter:
    """The adapter in a folder, of any rank, alpha, patterns of these, and rank stabilisation.

    Raises:
        AdapterCorruptedError: it cannot be read.
        MergeRefusedError: it is a DoRA, whose update is no product of two matrices.
    """
    path = Path(folder.path)
    try:
        settings = parse_lora_settings((path / "adapter_config.json").read_bytes())
        if settings.use_dora:
            raise MergeRefusedError(
                f"Adapter {folder.id} is a DoRA: its update depends on the base model's weights.",
                next_step="Merge it by a joint method, which distills what it learnt from.",
            )
        tensors = load((path / "adapter_model.safetensors").read_bytes())
        updates = _updates(tensors, settings)
    except (OSError, ValueError, SafetensorError) as error:
        raise AdapterCorruptedError(
            f"Adapter {folder.id} cannot be read: {error}",
            next_step="Distill it again, or restore its folder from a backup.",
        ) from error
    targets = tuple(sorted(settings.target_modules))
    return Adapter(folder.id, folder.base_model_id, targets, updates)


def _updates(tensors: Mapping[str, Tensor], settings: LoraSettings) -> dict[str, LowRank]:
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name[:200]!r} is not the name of a LoRA matrix")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"a weight of {name!r} is not a finite number")
        sides.setdefault(match["module"], {})[match["side"]] = tensor.float()
    if not sides:
        raise ValueError("it is empty")
    return {module: _update(module, sides[module], settings) for module in sorted(sides)}


def _update(module: str, found: Mapping[str, Tensor], settings: LoraSettings) -> LowRank:
    rank = settings.rank(module)
    whole = found.keys() == {"A", "B"} and all(each.ndim == 2 for each in found.values())
    if not whole or len(found["A"]) != rank or found["B"].shape[1] != rank:
        raise ValueError(f"{module!r} has not two matrices of rank {rank}")
    return LowRank(found["B"] * settings.scaling(module), found["A"])


def check_mergeable(adapters: Sequence[Adapter]) -> None:
    """Refuse adapters that cannot become one.

    Raises:
        MergeRefusedError: there are fewer than two, one is there twice, or they are not of the
            same modules of the same shapes.
        AdapterBaseModelMismatchError: they were made for different base models.
    """
    check_parents([(each.id, each.base_model_id) for each in adapters])
    first = adapters[0]
    for other in adapters[1:]:
        if first.updates.keys() != other.updates.keys():
            odd = sorted(first.updates.keys() ^ other.updates.keys())
            raise _refused(
                f"Adapters {first.id} and {other.id} change different modules: {odd[0]!r} is of "
                f"one alone{f', as are {len(odd) - 1} more' if len(odd) > 1 else ''}."
            )
        for module, update in first.updates.items():
            one, two = _shape(update), _shape(other.updates[module])
            if one != two:
                raise _refused(
                    f"Adapters {first.id} and {other.id} change {module!r} in different shapes: "
                    f"{one} and {two}."
                )


def check_parents(parents: Sequence[tuple[str, str]]) -> None:
    """Refuse what ids and base models tell already: pairs of both.

    Raises:
        MergeRefusedError: there are fewer than two, or one is there twice.
        AdapterBaseModelMismatchError: they were made for different base models.
    """
    ids = [parent for parent, _ in parents]
    if len(set(ids)) < max(2, len(ids)):
        raise MergeRefusedError(
            f"A merge needs two different adapters or more, each once; got {ids}.",
            next_step="Name two adapters of one base model.",
        )
    bases = {base for _, base in parents}
    if len(bases) > 1:
        told = ", ".join(sorted(map(repr, bases)))
        raise AdapterBaseModelMismatchError(
            f"These adapters were made for different base models: {told}.",
            next_step="Merge adapters of one base model.",
        )


def _shape(update: LowRank) -> tuple[int, int]:
    return update.b.shape[0], update.a.shape[1]


def _refused(message: str) -> MergeRefusedError:
    return MergeRefusedError(
        message, next_step="Merge them by a joint method, which distills what they learnt from."
    )
