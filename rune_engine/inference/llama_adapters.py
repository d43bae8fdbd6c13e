"""The adapters in memory beside a llama.cpp model: made, checked, loaded, and freed by bytes.

Knows files and pointers; nothing of requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rune_engine.errors import AdapterCorruptedError, InvalidInputError
from rune_engine.gguf.adapters import export_adapter
from rune_engine.gguf.cache import GgufCache, touch
from rune_engine.gguf.checks import check_adapter
from rune_engine.gguf.reading import Gguf, MalformedGguf
from rune_engine.inference.adapter_files import CONFIG
from rune_engine.inference.adapter_files import check_adapter as check_files
from rune_engine.inference.llama_native import NativeModel, free_adapter
from rune_engine.inference.provider import AdapterRef

BASE_KEY = ""
"""The key of no adapter."""


@dataclass(slots=True)
class _Loaded:
    id: str
    pointer: Any
    size: int


class LlamaAdapters:
    """Loaded adapters under content-derived keys, least recently used first.

    Args:
        header: of the base model's file.
        memory_bytes: what they may take; those in use stay, whatever they take.
        take_off: called with a key before its adapter is freed, so that no context holds it;
            False when that cannot be now.
    """

    def __init__(
        self,
        model: NativeModel,
        header: Gguf,
        cache: GgufCache,
        memory_bytes: int,
        take_off: Callable[[str], bool],
    ) -> None:
        self._model = model
        self._header = header
        self._cache = cache
        self._memory_bytes = memory_bytes
        self._take_off = take_off
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()

    @property
    def ids(self) -> list[str]:
        return [loaded.id for loaded in self._loaded.values()]

    def load(self, key: str, adapter: AdapterRef | None) -> Any:
        """Have the adapter of a key in memory; its pointer. Without one, the base model's: None.

        Raises:
            AdapterCorruptedError: its files may not be loaded.
            InvalidInputError: it is an adapter that GGUF cannot hold.
        """
        if adapter is None:
            return None
        if key not in self._loaded:
            check_files(adapter)
            path = self._file(adapter)
            size = path.stat().st_size
            self._make_room(size)
            self._loaded[key] = _Loaded(adapter.id, self._model.load_adapter(path), size)
        self._loaded[key].id = adapter.id
        self._loaded.move_to_end(key)
        return self._loaded[key].pointer

    def _make_room(self, size: int) -> None:
        taken = sum(loaded.size for loaded in self._loaded.values())
        for key, loaded in list(self._loaded.items()):
            if taken + size <= self._memory_bytes:
                return
            if self._take_off(key):
                free_adapter(loaded.pointer)
                del self._loaded[key]
                taken -= loaded.size

    def _file(self, adapter: AdapterRef) -> Path:
        """The adapter's GGUF; a kept one that is not as it was made is made again."""
        if self._header.keys["general.architecture"] != "qwen2":
            raise InvalidInputError(
                "Adapters are served on Qwen2 models only with llama.cpp.",
                next_step="Serve this base model with the Transformers back-end.",
            )
        path = self._cache.adapter(adapter.sha256, (adapter.path / CONFIG).read_bytes())
        try:
            self._check(path, adapter)
        except (FileNotFoundError, MalformedGguf):
            self._make(path, adapter)
        touch(path)
        return path

    def _make(self, path: Path, adapter: AdapterRef) -> None:
        def make(target: Path) -> None:
            export_adapter(
                adapter.path,
                target,
                adapter_id=adapter.id,
                sha256=adapter.sha256,
                base_model_id=adapter.base_model_id,
            )

        self._cache.make_adapter(path, make)
        try:
            self._check(path, adapter)
        except MalformedGguf as error:
            path.unlink(missing_ok=True)
            raise AdapterCorruptedError(
                f"Adapter {adapter.id} cannot be loaded: {error}.",
                next_step="Distill it again for this base model.",
            ) from error

    def _check(self, path: Path, adapter: AdapterRef) -> None:
        check_adapter(
            path, self._header, base_model_id=adapter.base_model_id, sha256=adapter.sha256
        )
