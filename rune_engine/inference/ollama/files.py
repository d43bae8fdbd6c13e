"""The GGUF files that Ollama gets of a base model folder and its adapters, kept in the home.

What was made of an adapter lies beside its other files in the cache, so that forgetting it removes
both. The exporter's libraries are loaded at the first use, on a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from rune_engine.inference.adapter_files import CONFIG
from rune_engine.inference.ollama.models import GgufFiles
from rune_engine.inference.provider import AdapterRef, GenerationRequest


def gguf_files(base_model_id: str, folder: Path, cached: Path) -> GgufFiles:
    """The files of a base model folder, made in `cached`.

    Their makers raise InvalidInputError for a model or an adapter that GGUF cannot say.
    """
    return GgufFiles(
        base=lambda: _base(base_model_id, folder, cached),
        adapter=lambda adapter: _adapter(adapter, cached),
        merged=lambda adapter: _merged(base_model_id, folder, adapter, cached),
    )


def renderer(folder: Path) -> Callable[[GenerationRequest], str]:
    """Renders requests with the folder's chat template, which is read at the first one."""
    from rune_engine.inference.vllm.chat import read_chat_format

    chat_format = cache(lambda: read_chat_format(folder))
    return lambda request: chat_format().prompt(request)


def _base(base_model_id: str, folder: Path, cached: Path) -> Path:
    from rune_engine.gguf.bases import export_base
    from rune_engine.gguf.cache import GgufCache, touch

    store = GgufCache(cached)
    path = store.base(folder, base_model_id, "None")  # as llama.cpp's worker names it
    if not path.exists():
        store.make_base(
            path, lambda target: export_base(folder, target, base_model_id=base_model_id)
        )
    touch(path)
    return path


def _adapter(adapter: AdapterRef, cached: Path) -> Path:
    from rune_engine.gguf.adapters import export_adapter
    from rune_engine.gguf.cache import GgufCache, touch

    def make(target: Path) -> None:
        export_adapter(
            adapter.path,
            target,
            adapter_id=adapter.id,
            sha256=adapter.sha256,
            base_model_id=adapter.base_model_id,
        )

    store = GgufCache(cached)
    path = store.adapter(adapter.sha256, (adapter.path / CONFIG).read_bytes())
    if not path.exists():
        store.make_adapter(path, make)
    touch(path)
    return path


def _merged(base_model_id: str, folder: Path, adapter: AdapterRef, cached: Path) -> Path:
    from rune_engine.gguf.bases import export_base
    from rune_engine.gguf.cache import GgufCache, touch

    def make(target: Path) -> None:
        export_base(folder, target, base_model_id=base_model_id, adapter=adapter.path)

    store = GgufCache(cached)
    base_name = store.base(folder, base_model_id, "None").name
    config = (adapter.path / CONFIG).read_bytes()
    path = store.adapter(adapter.sha256, b"merged into %s\n%s" % (base_name.encode(), config))
    if not path.exists():
        store.make_adapter(path, make)
    touch(path)
    return path
