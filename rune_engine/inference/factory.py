"""Which back-end serves a base model: chosen by its name, kept for the next call.

Importing this module loads no back-end's libraries, and no HTTP client for a back-end elsewhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from base_models import BaseModelFolder
from rune_engine.config import RuneConfig
from rune_engine.inference.llama import LlamaProvider
from rune_engine.inference.provider import InferenceProvider, ProviderStatus
from rune_engine.inference.scripted import SCRIPT_NAME, ScriptedProvider
from rune_engine.inference.transformers import TransformersProvider
from rune_engine.model_store.resolve import Script, resolve


def create_provider(base_model: str, config: RuneConfig) -> InferenceProvider:
    """Make the provider for `base_model`; nothing is started yet.

    Args:
        base_model: any name that `model_store.resolve` knows.

    Raises:
        BaseModelNotFoundError: there is no such model on this machine.
        BaseModelCorruptedError: what it says of itself cannot be read.
        InvalidInputError: the script is not one, or the back-end does not know a setting.
    """
    found = resolve(base_model, config)
    if isinstance(found, Script):
        return ScriptedProvider(found.path)
    if _is_scripted(found.path):
        return ScriptedProvider(found.path / SCRIPT_NAME, found.id)
    if config.serving.backend == "vllm":
        return _of_vllm(found, config)
    if config.serving.backend == "ollama":
        return _of_ollama(found, config)
    if found.is_gguf or config.serving.backend == "llama":
        return LlamaProvider(
            found.id,
            found.path,
            config.gguf_path,
            config.model_threads,
            config.worker_idle_seconds,
            serving=config.serving,
        )
    return TransformersProvider(
        found.id, found.path, config.model_threads, config.worker_idle_seconds, config.serving
    )


def _of_vllm(found: BaseModelFolder, config: RuneConfig) -> InferenceProvider:
    from rune_engine.inference.vllm.command import model_folder
    from rune_engine.inference.vllm.provider import VllmProvider

    return VllmProvider(
        found.id,
        model_folder(found),
        config.serving.vllm_url,
        staging=config.home / "vllm",
        max_adapters=config.serving.vllm_adapters,
    )


def _of_ollama(found: BaseModelFolder, config: RuneConfig) -> InferenceProvider:
    from rune_engine.inference.ollama.files import gguf_files, renderer
    from rune_engine.inference.ollama.provider import DEFAULT_CONTEXT, OllamaProvider
    from rune_engine.inference.vllm.command import model_folder

    folder = model_folder(found)
    return OllamaProvider(
        found.id,
        config.serving.ollama_url,
        renderer(folder),
        gguf_files(found.id, folder, config.gguf_path),
        context=config.serving.context or DEFAULT_CONTEXT,
        idle_seconds=config.worker_idle_seconds,
    )


def _is_scripted(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (ValueError, NotADirectoryError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "scripted"


class ProviderPool:
    """One provider per base model, made at first use and closed together."""

    def __init__(
        self,
        config: RuneConfig,
        create: Callable[[str, RuneConfig], InferenceProvider] = create_provider,
    ) -> None:
        self._config = config
        self._create = create
        self._providers: dict[str, InferenceProvider] = {}

    def name_of(self, base_model: str | None) -> str:
        """The name under which `base_model` is kept, the configured one by default."""
        return base_model or self._config.base_model

    def get(self, base_model: str | None = None) -> InferenceProvider:
        """The provider for `base_model`, the configured one by default.

        Raises:
            BaseModelNotFoundError: no such base model.
        """
        name = self.name_of(base_model)
        if name not in self._providers:
            self._providers[name] = self._create(name, self._config)
        return self._providers[name]

    def everyone(self) -> dict[str, InferenceProvider]:
        """Every provider made so far, by name."""
        return dict(self._providers)

    def statuses(self) -> list[ProviderStatus]:
        """What every provider made so far says of itself."""
        return [provider.status() for provider in self._providers.values()]

    async def close_all(self) -> None:
        """Close every provider; the pool may be used again after."""
        providers, self._providers = list(self._providers.values()), {}
        await asyncio.gather(*(provider.close() for provider in providers))
