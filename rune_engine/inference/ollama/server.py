"""Ollama's HTTP interface, one method an endpoint, as its documentation (docs/api.md) has it.

Knows nothing of adapters or prompts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from rune_engine.errors import BackendUnavailableError, ContextTooLongError, InferenceError

_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 600.0
"""Longest wait for the next byte: a large model is loaded, or made, within one request."""
_CHUNK_BYTES = 1024 * 1024
_SHOWN_CHARS = 500


class NoSuchModelError(Exception):
    """The server has no model of that name (any more)."""


class OllamaServer:
    """One server at `url`; belongs to one event loop.

    Every method raises `BackendUnavailableError` when the server does not answer, and
    `InferenceError` with its own words when it refuses.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def put_blob(self, file: Path, digest: str) -> None:
        """Hand over a file's bytes, unless the server has them; `digest` is `sha256:...`."""
        path = f"/api/blobs/{digest}"
        async with self._asked("HEAD", path, missing_is_fine=True) as response:
            if response.status_code == httpx.codes.OK:
                return
        size = {"content-length": str(file.stat().st_size)}
        async with self._asked("POST", path, content=_chunks(file), headers=size):
            return

    async def create(self, model: str, **parts: Any) -> None:
        """Make a model of blobs: `files` or `from`, and `adapters`."""
        said = [line async for line in self._lines("/api/create", {"model": model, **parts})]
        if not said or said[-1].get("status") != "success":
            raise InferenceError(f"Ollama did not finish making the model {model}.")

    async def exists(self, model: str) -> bool:
        body = {"model": model}
        async with self._asked("POST", "/api/show", missing_is_fine=True, json=body) as response:
            return response.status_code == httpx.codes.OK

    def generate(self, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """The lines of a generation, as they come; closing the iterator ends it.

        Raises:
            NoSuchModelError: the model is not there.
            ContextTooLongError: the server says that the prompt does not fit.
        """
        return self._lines("/api/generate", {**body, "stream": True})

    async def loaded(self) -> list[str]:
        """The names of the models in memory."""
        async with self._asked("GET", "/api/ps") as response:
            return [str(model["name"]) for model in (await _json(response)).get("models") or []]

    async def unload(self, model: str) -> None:
        """Ask for a model's memory back; it may take a moment."""
        body = {"model": model, "keep_alive": 0, "stream": False}
        async with self._asked("POST", "/api/generate", missing_is_fine=True, json=body):
            return

    async def _lines(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        async with self._asked("POST", path, json=body) as response:
            async for text in response.aiter_lines():
                if text.strip():
                    line = _parsed(text)
                    if "error" in line:  # after the stream has begun, the status is 200
                        raise _refusal(str(line["error"]))
                    yield line

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, *, missing_is_fine: bool = False, **content: Any
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with self._connection().stream(method, path, **content) as response:
                missing = response.status_code == httpx.codes.NOT_FOUND
                if response.is_error and not (missing and missing_is_fine):
                    said = str((await _json(response)).get("error", response.reason_phrase))
                    raise NoSuchModelError(said) if missing else _refusal(said)
                yield response
        except httpx.TransportError as error:
            raise BackendUnavailableError(
                f"Ollama at {self._url} does not answer ({type(error).__name__}).",
                next_step="Start it (`ollama serve`), or correct serving.ollama_url.",
            ) from error

    def _connection(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(
                base_url=self._url,
                trust_env=False,
                verify=self._url.startswith("https:"),  # certificates take a while to load
                timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=None),
            )
        return self._http


def digest_of(file: Path) -> str:
    """A file's name in Ollama's store. Blocks."""
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk


async def _json(response: httpx.Response) -> Mapping[str, Any]:
    text = (await response.aread()).decode("utf-8", "replace")
    return _parsed(text) if text.strip() else {}


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InferenceError(
            f"The server answered {text[:80]!r}, which Ollama would not.",
            next_step="Is serving.ollama_url the address of an Ollama server?",
        )
    return value


def _refusal(said: str) -> InferenceError:
    if "context" in said and ("exceed" in said or "too long" in said):
        return ContextTooLongError(
            f"The prompt does not fit: {said[:_SHOWN_CHARS]}.",
            next_step="Shorten it, or raise serving.context.",
        )
    return InferenceError(
        f"Ollama refused: {said[:_SHOWN_CHARS]}",
        next_step="Its log (`journalctl -u ollama`, or ~/.ollama/logs) may say more.",
    )
