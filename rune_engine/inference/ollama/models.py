"""Which of Ollama's models is which adapter: made at first use, named by content, tried out.

A model's name is made of the bytes it consists of, so it never means other weights. Making a model
with an adapter succeeds also where the engine cannot apply it, or leaves it out; so each is tried
by a real generation, and where that fails, or says to the last digit what the base model says, the
adapter is merged into the base model instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rune_engine.errors import BackendUnavailableError, ContextTooLongError, InferenceError
from rune_engine.inference.adapter_files import adapter_key, check_adapter
from rune_engine.inference.ollama.answers import body_of, read
from rune_engine.inference.ollama.server import OllamaServer, digest_of
from rune_engine.inference.provider import AdapterRef, Generation, GenerationRequest

log = logging.getLogger(__name__)

PREFIX = "rune-"
_TAG_CHARS = 16
_FILE = "model.gguf"
_PROBE = GenerationRequest(prompt="def main(arguments):\n    ", max_tokens=4, logprobs=True)


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """Makes GGUF files, each at its first use; all of these block.

    Attributes:
        base: the base model's.
        adapter: of a LoRA adapter alone.
        merged: the base model's with an adapter in its weights.
    """

    base: Callable[[], Path]
    adapter: Callable[[AdapterRef], Path]
    merged: Callable[[AdapterRef], Path]


class OllamaModels:
    """The models of one base model on one server.

    Args:
        context: tokens of context to try them with, which are those they are used with.
        keep_alive: seconds that a model stays in memory after a request.
    """

    def __init__(
        self,
        server: OllamaServer,
        base_model_id: str,
        files: GgufFiles,
        *,
        context: int,
        keep_alive: float,
    ) -> None:
        self._server = server
        self._base_model_id = base_model_id
        self._files = files
        self._context = context
        self._keep_alive = keep_alive
        self._names: dict[str | None, str] = {}
        self._making: defaultdict[str | None, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._base_said: Generation | None = None
        self._applies_adapters = True

    @property
    def names(self) -> list[str]:
        """The models known to be there."""
        return list(self._names.values())

    async def name(self, adapter: AdapterRef | None) -> str:
        """The model for an adapter or for none; made and tried if it is not there.

        Raises:
            AdapterCorruptedError: the adapter's files may not be loaded.
            InferenceError: the server cannot make the model, or cannot answer with it.
        """
        key = None if adapter is None else adapter_key(adapter)
        async with self._making[key]:
            if key not in self._names:
                self._names[key] = await (
                    self._base() if adapter is None else self._adapted(adapter)
                )
            return self._names[key]

    def forget_all(self) -> None:
        """Models were removed from the server: look for each again, and make what is gone."""
        self._names.clear()

    async def _base(self) -> str:
        file = await asyncio.to_thread(self._files.base)
        name = await self._made_of(_slug(self._base_model_id), file)
        self._base_said = await self._try(name)
        return name

    async def _adapted(self, adapter: AdapterRef) -> str:
        await asyncio.to_thread(check_adapter, adapter)
        base = await self.name(None)
        if self._applies_adapters:
            try:
                return await self._with_adapter(adapter, base)
            except BackendUnavailableError:
                raise
            except InferenceError as error:
                log.warning("Ollama cannot apply adapter %s: %s", adapter.id, error)
                # Of the engine, not of this adapter: the next ones need not be tried.
                self._applies_adapters = "not yet implemented" not in error.message
        file = await asyncio.to_thread(self._files.merged, adapter)
        name = await self._made_of(f"merged-{adapter_key(adapter)}", file)
        await self._try(name)
        return name

    async def _with_adapter(self, adapter: AdapterRef, base: str) -> str:
        file = await asyncio.to_thread(self._files.adapter, adapter)
        digest = await asyncio.to_thread(digest_of, file)
        name = f"{PREFIX}adapter-{adapter_key(adapter)}:{_tag(base, digest)}"
        if not await self._server.exists(name):
            await self._server.put_blob(file, digest)
            await self._server.create(name, **{"from": base}, adapters={_FILE: digest})
        said = await self._try(name)
        if said.token_logprobs and _words(said) == _words(self._base_said):
            raise InferenceError("It answers exactly as the base model does.")
        return name

    async def _made_of(self, what: str, file: Path) -> str:
        """A model that is one GGUF file."""
        digest = await asyncio.to_thread(digest_of, file)
        name = f"{PREFIX}{what}:{_tag(digest)}"
        if not await self._server.exists(name):
            await self._server.put_blob(file, digest)
            await self._server.create(name, files={_FILE: digest})
        return name

    async def _try(self, name: str) -> Generation:
        """A few tokens, for real: only an answer shows that a model can answer."""
        body: dict[str, Any] = body_of(
            name, str(_PROBE.prompt), _PROBE, context=self._context, keep_alive=self._keep_alive
        )
        try:
            async with aclosing(self._server.generate(body)) as lines:
                *_, said = [item async for item in read(lines, None)]
        except ContextTooLongError as error:
            raise InferenceError(f"A context of {self._context} tokens is too small.") from error
        assert isinstance(said, Generation)
        return said


def _words(said: Generation | None) -> tuple[str, tuple[float, ...]] | None:
    return None if said is None else (said.text, said.token_logprobs)


def _tag(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_TAG_CHARS]


def _slug(text: str) -> str:
    """Ollama's names are of few characters; which model it is, its tag says."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "base"
