"""Which back-end serves a base model: chosen by its name, kept for the next call.

Importing this module loads no back-end's libraries.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import base_models
from rune_engine.config import RuneConfig
from rune_engine.errors import BaseModelNotFoundError
from rune_engine.inference.provider import InferenceProvider, ProviderStatus
from rune_engine.inference.scripted import SCRIPT_NAME, ScriptedProvider
from rune_engine.inference.transformers import TransformersProvider
from rune_engine.inference.vllm.provider import VllmProvider

_SCRIPTED = "scripted:"


def create_provider(base_model: str, config: RuneConfig) -> InferenceProvider:
    """Make the provider for `base_model`; nothing is started yet.

    Args:
        base_model: a shipped base model's name, a model folder, or `scripted:FILE`.

    Raises:
        BaseModelNotFoundError: none of these is there.
        InvalidInputError: the script is not one.
    """
    if base_model.startswith(_SCRIPTED):
        script = Path(base_model.removeprefix(_SCRIPTED)).expanduser()
        if not script.is_file():
            raise _not_found(base_model)
        return ScriptedProvider(script)
    try:
        found = base_models.describe(base_model)
    except FileNotFoundError as error:
        raise _not_found(base_model) from error
    if _is_scripted(found.path):
        return ScriptedProvider(found.path / SCRIPT_NAME, found.id)
    if config.serving.backend == "vllm":
        return VllmProvider(
            found.id,
            found.path,
            config.serving.vllm_url,
            staging=config.home / "vllm",
            max_adapters=config.serving.vllm_adapters,
        )
    return TransformersProvider(
        found.id, found.path, config.model_threads, config.worker_idle_seconds
    )


def _is_scripted(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except ValueError:
        return False
    return isinstance(config, dict) and config.get("model_type") == "scripted"


def _not_found(base_model: str) -> BaseModelNotFoundError:
    shipped = ", ".join(base_models.shipped()) or "none"
    return BaseModelNotFoundError(
        f"There is no base model {base_model!r}. Shipped with Rune: {shipped}.",
        next_step="Name a shipped one, a folder with a config.json, or scripted:FILE.",
    )


class ProviderPool:
    """One provider per base model, made at first use and closed together."""

    def __init__(self, config: RuneConfig) -> None:
        self._config = config
        self._providers: dict[str, InferenceProvider] = {}

    def get(self, base_model: str | None = None) -> InferenceProvider:
        """The provider for `base_model`, the configured one by default.

        Raises:
            BaseModelNotFoundError: no such base model.
        """
        name = base_model or self._config.base_model
        if name not in self._providers:
            self._providers[name] = create_provider(name, self._config)
        return self._providers[name]

    def statuses(self) -> list[ProviderStatus]:
        """What every provider made so far says of itself."""
        return [provider.status() for provider in self._providers.values()]

    async def close_all(self) -> None:
        """Close every provider; the pool may be used again after."""
        providers, self._providers = list(self._providers.values()), {}
        await asyncio.gather(*(provider.close() for provider in providers))

    async def sleep_all(self) -> None:
        """Put every provider to sleep; none may be generating."""
        await asyncio.gather(*(provider.sleep() for provider in self._providers.values()))

    async def wake_all(self) -> None:
        """Wake every provider."""
        await asyncio.gather(*(provider.wake() for provider in self._providers.values()))
