"""Hands an adapter to other programs: as PEFT keeps it, as GGUF, or as a folder for Ollama.

All of it is written or nothing; nothing that exists is replaced. Knows files only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rune_engine.errors import InvalidInputError
from rune_engine.gguf import keys
from rune_engine.gguf.adapters import CONFIG, WEIGHTS, export_adapter
from rune_engine.gguf.bases import export_base
from rune_engine.gguf.chat import is_chatml
from rune_engine.gguf.checks import check_adapter, check_base
from rune_engine.gguf.reading import Gguf, MalformedGguf

_CHATML = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """An adapter to hand out: `folder` is PEFT's, `sha256` its weights' hash."""

    id: str
    folder: Path
    sha256: str
    base_model_id: str


def to_peft(adapter: Exported, out: Path) -> None:
    """Write a folder that PEFT loads.

    Raises:
        InvalidInputError: `out` exists.
        OSError: it cannot be written.
    """
    with _new_folder(out) as folder:
        for name in (WEIGHTS, CONFIG):
            shutil.copyfile(adapter.folder / name, folder / name)


def to_gguf(adapter: Exported, out: Path) -> None:
    """Write a GGUF LoRA, for llama.cpp's `--lora` and others.

    Raises:
        InvalidInputError: `out` exists, or GGUF cannot say what the adapter does.
        OSError: it cannot be written.
    """
    _refuse_existing(out)
    _write_gguf(adapter, out)


def to_ollama(adapter: Exported, base: Path, out: Path, *, merged: bool = False) -> None:
    """Write a folder for `ollama create NAME -f Modelfile`.

    Args:
        base: the base model's folder.
        merged: one model with the adapter in its weights, where an engine cannot apply one.

    Raises:
        InvalidInputError: `out` exists, or GGUF cannot say what the model or the adapter is.
        OSError: it cannot be written.
    """
    with _new_folder(out) as folder:
        model = folder / ("model.gguf" if merged else "base.gguf")
        export_base(
            base,
            model,
            base_model_id=adapter.base_model_id,
            adapter=adapter.folder if merged else None,
        )
        header = _checked(model)
        if not merged:
            _write_gguf(adapter, folder / "adapter.gguf", header)
        modelfile = _modelfile(adapter, header, merged=merged)
        (folder / "Modelfile").write_text(modelfile, encoding="utf-8")


def _write_gguf(adapter: Exported, path: Path, base: Gguf | None = None) -> None:
    export_adapter(
        adapter.folder,
        path,
        adapter_id=adapter.id,
        sha256=adapter.sha256,
        base_model_id=adapter.base_model_id,
    )
    if base is not None:
        try:
            check_adapter(path, base, base_model_id=adapter.base_model_id, sha256=adapter.sha256)
        except MalformedGguf as error:
            raise InvalidInputError(
                f"Adapter {adapter.id} does not fit this base model: {error}.",
                next_step="Name the base model that it was made for.",
            ) from error


def _checked(model: Path) -> Gguf:
    try:
        return check_base(model)
    except MalformedGguf as error:
        raise InvalidInputError(
            f"The base model cannot be written as GGUF: {error}.",
            next_step="Check its folder against where it came from.",
        ) from error


def _modelfile(adapter: Exported, header: Gguf, *, merged: bool) -> str:
    tokens = header.keys["tokenizer.ggml.tokens"]
    lines = [f"# {adapter.base_model_id} with {adapter.id}, a memory of Rune's."]
    if merged:
        lines.append("FROM ./model.gguf")
    else:
        lines += ["FROM ./base.gguf", "ADAPTER ./adapter.gguf"]
    if is_chatml(header.keys.get("tokenizer.chat_template", "")):
        lines.append(f'TEMPLATE """{_CHATML}"""')
    lines += [f'PARAMETER stop "{tokens[index]}"' for index in header.keys[keys.STOP_IDS]]
    return "\n".join(lines) + "\n"


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        raise InvalidInputError(f"{out} exists already.", next_step="Choose another name.")
    if not out.parent.is_dir():
        raise InvalidInputError(f"There is no folder {out.parent}.", next_step="Make it first.")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` if the block ends well, and goes otherwise."""
    _refuse_existing(out)
    partial = Path(tempfile.mkdtemp(".partial", f".{out.name}.", out.parent))
    try:
        yield partial
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
