"""How base models of a model hub are spelt: `org/name`, `org/name@revision`, `...:file`.

A short name of the catalogue stands for its repository: `qwen2.5-coder-0.5b` for the safetensors,
`qwen2.5-coder-0.5b:q8_0` for a GGUF file. Knows nothing of files or networks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rune_engine.errors import InvalidInputError
from rune_engine.model_store.catalogue import CatalogueModel, by_name, by_repository

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB_NAME = re.compile(
    rf"(?P<repository>{_PART}/{_PART})(@(?P<revision>[A-Za-z0-9._/-]+))?(:(?P<file>[\w.-]+))?"
)
_SHORT_NAME = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(:(?P<file>[\w.-]+))?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A model of the hub. `file` names a GGUF file of it, or the end of one, such as `q8_0`."""

    repository: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repository}{revision}{f':{self.file}' if self.file else ''}"

    @property
    def known(self) -> CatalogueModel | None:
        """What the catalogue knows of it."""
        return by_repository(self.repository)

    @property
    def short(self) -> str:
        """The catalogue's name for it where it has one; what a user would type."""
        known = self.known
        if known is None or self.revision:
            return str(self)
        file = (self.file or "").lower().removeprefix(f"{known.id}-")
        return f"{known.name}{f':{file}' if file else ''}"


def parse(name: str) -> Reference | None:
    """What `name` refers to on the hub; None where it is spelt like nothing there."""
    if short := _SHORT_NAME.fullmatch(name):
        known = by_name(short["name"])
        if known is not None:
            repository = known.gguf_repository if short["file"] else known.repository
            return Reference(repository, file=short["file"])
    full = _HUB_NAME.fullmatch(name)
    if full is None or ".." in name or (name.endswith(".gguf") and ":" not in name):
        return None
    return Reference(full["repository"], full["revision"], full["file"])


def names_file(asked: str, stem: str) -> bool:
    """Whether `asked` is a GGUF model's file name without its ending, or the end of that name."""
    asked, stem = asked.lower().removesuffix(".gguf"), stem.lower()
    return stem == asked or stem.endswith((f"-{asked}", f".{asked}"))


def parse_or_refuse(name: str) -> Reference:
    """What `name` refers to on the hub.

    Raises:
        InvalidInputError: it cannot be the name of a model there.
    """
    found = parse(name)
    if found is None:
        raise InvalidInputError(
            f"{name!r} is not the name of a model on a hub.",
            next_step="Give a name that `rune model list` shows, or ORG/NAME[@REVISION][:FILE].",
        )
    return found
