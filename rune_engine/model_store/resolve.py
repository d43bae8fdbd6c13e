"""What a base model's name means: the one place that everybody asks.

In this order: `scripted:FILE`, a model that ships, one that was pulled, a folder or a `.gguf` file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import base_models
from base_models import BaseModelFolder
from rune_engine.config import RuneConfig
from rune_engine.errors import (
    BaseModelCorruptedError,
    BaseModelNotFoundError,
    InvalidInputError,
)
from rune_engine.model_store import names, store
from rune_engine.model_store.catalogue import by_name

_SCRIPTED = "scripted:"


@dataclass(frozen=True, slots=True)
class Script:
    """A file of prepared answers, for trying Rune and for tests."""

    path: Path


def resolve(name: str, config: RuneConfig) -> BaseModelFolder | Script:
    """The base model that `name` means on this machine.

    Raises:
        BaseModelNotFoundError: it is not here; says how to get it where that is known.
        BaseModelCorruptedError: what it says of itself cannot be read.
    """
    if name.startswith(_SCRIPTED):
        script = Path(name.removeprefix(_SCRIPTED)).expanduser()
        if not script.is_file():
            raise not_found(name)
        return Script(script)
    return resolve_model(name, config)


def resolve_model(name: str, config: RuneConfig) -> BaseModelFolder:
    """The base model that `name` means, which is no script.

    Raises:
        BaseModelNotFoundError: it is not here, or it is a script.
        BaseModelCorruptedError: what it says of itself cannot be read.
    """
    wanted = names.parse(name) if name not in base_models.shipped() else None
    pulled = store.find(config.models_path, wanted) if wanted else None
    try:
        return base_models.describe(str(pulled.path) if pulled else name)
    except FileNotFoundError:
        raise not_found(name) from None
    except (OSError, ValueError) as error:
        raise BaseModelCorruptedError(
            f"The base model {name!r} cannot be read: {error}.",
            next_step="Pull it again, or name another one; see `rune model list`.",
        ) from error


def resolve_trainable(name: str, config: RuneConfig) -> BaseModelFolder:
    """The base model to distill into for `name`: of a GGUF file, the same model in safetensors.

    Raises:
        BaseModelNotFoundError: it is not here, it is a script, or only its GGUF file is here.
        BaseModelCorruptedError: what it says of itself cannot be read.
    """
    found = resolve_model(name, config)
    if not found.is_gguf:
        return found
    for model in store.pulled(config.models_path):
        if model.id == found.id and not model.gguf:
            return base_models.describe(str(model.path))
    raise BaseModelNotFoundError(
        f"{name!r} is a GGUF file: it can be served, but not distilled into.",
        next_step=_safetensors_of(found.id),
    )


def not_found(name: str) -> BaseModelNotFoundError:
    """The error for a base model that is not here, with what to do about this name."""
    wanted = names.parse(name)
    if wanted is not None and not Path(name).exists():
        return BaseModelNotFoundError(
            f"The base model {name!r} is not on this machine.",
            next_step=f"Download it with `rune model pull {name}`.",
        )
    shipped = ", ".join(base_models.shipped()) or "none"
    return BaseModelNotFoundError(
        f"There is no base model {name!r}. Shipped with Rune: {shipped}.",
        next_step="Name a shipped one, one of `rune model list`, a folder with a config.json, "
        "a .gguf file, or scripted:FILE.",
    )


def name_to_keep(name: str, config: RuneConfig) -> str:
    """`name` as a configuration file can hold it: paths become absolute.

    Raises:
        BaseModelNotFoundError: there is no such base model.
        InvalidInputError: the name cannot stand in a configuration file.
    """
    if not name.isprintable():
        raise InvalidInputError("A base model's name is printable text.")
    found = resolve(name, config)
    if isinstance(found, Script):
        return f"{_SCRIPTED}{found.path.absolute()}"
    wanted = names.parse(name)
    if name in base_models.shipped() or (wanted and store.find(config.models_path, wanted)):
        return name
    return str(found.path)


def _safetensors_of(base_model_id: str) -> str:
    known = by_name(base_model_id)
    if known is None:
        return "Pull or name the same model as a folder of safetensors."
    return f"Download the same model as safetensors: `rune model pull {known.name}`."
