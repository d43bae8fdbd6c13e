"""`rune adapters export`: an adapter for other programs. No engine is needed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rune_engine.cli.session import out as console
from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import BaseModelNotFoundError
from rune_engine.extras import require
from rune_engine.inference.provider import AdapterRef


class Format(StrEnum):
    """What an adapter is written as."""

    gguf = "gguf"
    peft = "peft"
    ollama = "ollama"


def export(
    adapter_id: Annotated[str, typer.Argument(metavar="ADAPTER", help="The adapter's id.")],
    to: Annotated[Format, typer.Option("--to", help="gguf: one file; the others: a folder.")],
    out: Annotated[Path, typer.Option("--out", help="A new file or folder.")],
    base: Annotated[
        str | None, typer.Option(help="For ollama: the base model, by name or folder.")
    ] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="For ollama: put the adapter into the weights.")
    ] = False,
) -> None:
    """Write an adapter for other programs: llama.cpp (gguf), PEFT, or Ollama with its base model.

    All of it is written or nothing, and nothing that exists is replaced.
    """
    require("llama", "Exporting adapters")
    # Imported here: `rune adapters list` needs none of it.
    from rune_engine.gguf import export as exporting
    from rune_engine.storage_errors import storage_errors

    config = load_config()
    ref = _verified(config, adapter_id)
    adapter = exporting.Exported(ref.id, ref.path, ref.sha256, ref.base_model_id)
    out = out.expanduser().absolute()
    with storage_errors(out.parent):
        if to is Format.peft:
            exporting.to_peft(adapter, out)
        elif to is Format.gguf:
            exporting.to_gguf(adapter, out)
        else:
            folder = _base_folder(base or config.base_model, ref.base_model_id, config)
            exporting.to_ollama(adapter, folder, out, merged=merged)
    console.print(str(out), soft_wrap=True, highlight=False)


def _verified(config: RuneConfig, adapter_id: str) -> AdapterRef:
    from rune_engine.database import open_database
    from rune_engine.registry import AdapterRegistry
    from rune_engine.registry.lifecycle import not_found

    if not config.database_path.exists():
        raise not_found(adapter_id)
    database = open_database(config)
    try:
        return AdapterRegistry(database, config).verified_ref(adapter_id)
    finally:
        database.close()


def _base_folder(name: str, base_model_id: str, config: RuneConfig) -> Path:
    """The folder of the adapter's base model.

    Raises:
        BaseModelNotFoundError: the named one is another model, or has no folder here.
    """
    from rune_engine.model_store.resolve import resolve_trainable

    found = resolve_trainable(name, config)
    if found.id != base_model_id:
        raise BaseModelNotFoundError(
            f"The adapter was made for the base model {base_model_id!r}, not for {found.id!r}.",
            next_step="Name its base model with --base.",
        )
    return found.path
