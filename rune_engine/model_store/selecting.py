"""Which of a hub model's files are wanted: data only, never anything that runs.

Weights are safetensors or GGUF; pickles (`.bin`, `.pt`) and Python files are never downloaded.
Knows nothing of networks or disks.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rune_engine.errors import BaseModelNotFoundError, InvalidInputError
from rune_engine.model_store.names import Reference, names_file
from rune_engine.model_store.store import StoredFile

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_TEXTS = re.compile(r".+\.(json|jinja)|merges\.txt|vocab\.txt|tokenizer\.model|LICENSE(\.\w+)?")
_NEVER = {"adapter_config.json", "rune.json"}
"""A library would obey the first (another model's name); the second is ours to write."""
_WHOLE_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_CAUSAL = re.compile(r".*(ForCausalLM|LMHeadModel)|ScriptedModel")


def select(wanted: Reference, files: list[StoredFile]) -> list[StoredFile]:
    """The files to download, small ones first: either all safetensors or one GGUF model.

    Raises:
        BaseModelNotFoundError: the model has no such file, or no weights that Rune would load.
        InvalidInputError: it has several GGUF models, and none was named.
    """
    plain = [file for file in files if _PLAIN_NAME.fullmatch(file.name)]
    ggufs = [file for file in plain if file.name.endswith(".gguf")]
    weights = [file for file in plain if file.name.endswith(".safetensors")]
    if wanted.file or (ggufs and not weights):
        return sorted(_one_gguf(wanted, ggufs), key=lambda file: file.name)
    whole = [file for file in weights if _WHOLE_WEIGHTS.fullmatch(file.name)] or [
        file for file in weights if not file.name.startswith("adapter_")
    ]
    texts = [file for file in plain if _TEXTS.fullmatch(file.name) and file.name not in _NEVER]
    if not whole or not any(file.name == "config.json" for file in texts):
        raise BaseModelNotFoundError(
            f"{wanted} has no safetensors with a config.json, and Rune loads nothing else of a "
            "folder: pickled weights can run code.",
            next_step="Choose a model that is published as safetensors or GGUF.",
        )
    return [*sorted(texts, key=lambda file: file.size), *sorted(whole, key=lambda file: file.name)]


def check_architecture(wanted: Reference, config: str) -> None:
    """Refuse what is not a causal language model, before its weights are downloaded.

    Raises:
        InvalidInputError: it is not, or its `config.json` cannot be read.
    """
    try:
        read: Any = json.loads(config)
        architectures = [str(name) for name in read["architectures"]]
    except (ValueError, KeyError, TypeError):
        architectures = []
    if not any(_CAUSAL.fullmatch(name) for name in architectures):
        raise InvalidInputError(
            f"{wanted} is no causal language model: its config.json names "
            f"{', '.join(architectures) or 'no architecture'}.",
            next_step="Choose a model for text generation.",
        )


def gguf_stem(name: str) -> str:
    """The name of a GGUF model, from that of its file or of one of its parts."""
    return _PART.sub("", name.removesuffix(".gguf"))


def _one_gguf(wanted: Reference, ggufs: list[StoredFile]) -> list[StoredFile]:
    """The files of the one GGUF model that is named, or of the only one; parts go together."""
    models: dict[str, list[StoredFile]] = {}
    for file in ggufs:
        models.setdefault(gguf_stem(file.name), []).append(file)
    asked = wanted.file
    choices = [name for name in models if asked is None or names_file(asked, name)]
    complete = [models[name] for name in choices if _has_all_parts(models[name])]
    if len(complete) == 1:
        return complete[0]
    offered = ", ".join(sorted(models)) or "none"
    if not complete:
        raise BaseModelNotFoundError(
            f"{wanted.repository} has no GGUF file {asked!r}; it has: {offered}.",
            next_step=f"Name one of them: `rune model pull {wanted.repository}:NAME`.",
        )
    raise InvalidInputError(
        f"{wanted} could be several GGUF files: {offered}.",
        next_step=f"Name one, or its end: `rune model pull {wanted.repository}:q8_0`.",
    )


def _has_all_parts(files: list[StoredFile]) -> bool:
    """A model in parts is complete with as many as each says; a whole file beside parts is not."""
    told = [_PART.search(file.name.removesuffix(".gguf")) for file in files]
    return all(part is None for part in told) or all(
        part is not None and int(part[2]) == len(files) for part in told
    )
