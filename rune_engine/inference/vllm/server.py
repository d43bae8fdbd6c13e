"""The HTTP interface of a vLLM server, one method an endpoint. Knows no adapters' files.

Connections go straight to the server, past any proxy of the environment. Belongs to one event
loop.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from rune_engine.errors import BackendUnavailableError, InferenceError
from rune_engine.inference.vllm.replies import (
    Json,
    ServedModel,
    ServerFacts,
    served_models,
    server_facts,
    to_error,
    to_load_error,
)

_CONNECT_SECONDS = 5.0
_ADMIN_SECONDS = 120.0
"""For loading an adapter or waking: a large model moves between memories."""
_DATA = "data: "


class VllmServer:
    """A running `vllm.entrypoints.openai.api_server`.

    Args:
        url: where it listens, such as `http://127.0.0.1:8000`.
        answer_seconds: how long it may be silent during a generation before it counts as dead.
    """

    def __init__(self, url: str, answer_seconds: float) -> None:
        self.url = url.rstrip("/")
        self._timeout = httpx.Timeout(answer_seconds, connect=_CONNECT_SECONDS)
        self._opened: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        client, self._opened = self._opened, None
        if client is not None:
            await client.aclose()

    # --- what it serves ------------------------------------------------------------------------

    async def models(self) -> list[ServedModel]:
        return served_models(await self._get("/v1/models"))

    async def facts(self) -> ServerFacts:
        """What it was started with; unknown outside of development mode."""
        reply = await self._send(
            "GET", "/server_info", params={"config_format": "json"}, timeout=_ADMIN_SECONDS
        )
        return ServerFacts() if reply.status_code == 404 else server_facts(_checked(reply))

    async def count_tokens(self, model: str, text: str) -> tuple[int, int]:
        """How many tokens a raw prompt has, and how many fit in the server's context."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        told = await self._post("/tokenize", body)
        return int(told["count"]), int(told["max_model_len"])

    # --- adapters ------------------------------------------------------------------------------

    async def load(self, name: str, path: str, adapter_id: str) -> None:
        """Load an adapter; one that is loaded under this name already stays.

        Raises:
            AdapterUnsupportedError: the server says that it cannot serve it.
            InferenceError: it was not loaded for another reason.
        """
        body = {"lora_name": name, "lora_path": path}
        reply = await self._send("POST", "/v1/load_lora_adapter", json=body, timeout=_ADMIN_SECONDS)
        if reply.is_success or "already been loaded" in reply.text:
            return
        raise to_load_error(adapter_id, reply.status_code, _json(reply))

    async def unload(self, name: str) -> None:
        """Forget an adapter; one that is not loaded is none to forget."""
        body = {"lora_name": name}
        reply = await self._send("POST", "/v1/unload_lora_adapter", json=body)
        if not reply.is_success and reply.status_code != 404:
            raise to_error(reply.status_code, _json(reply))

    # --- generating ----------------------------------------------------------------------------

    async def complete(self, body: Json) -> Json:
        """`/v1/completions`; cancelling closes the connection, at which the server stops."""
        return await self._post("/v1/completions", body)

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        """`/v1/completions` event by event; closing the iterator stops the server."""
        body = body | {"stream": True, "stream_options": {"include_usage": True}}
        with _unavailable(self.url):
            async with self._client.stream("POST", "/v1/completions", json=body) as reply:
                if not reply.is_success:
                    await reply.aread()
                    raise to_error(reply.status_code, _json(reply))
                async for event in _events(reply):
                    yield event

    # --- sleeping ------------------------------------------------------------------------------

    async def sleep(self) -> None:
        """Weights to the processor's memory, key-value cache thrown away.

        Raises:
            InferenceError: the server has no such endpoint.
        """
        await self._dev("/sleep", {"level": "1"})

    async def wake_up(self) -> None:
        await self._dev("/wake_up", {})

    async def is_sleeping(self) -> bool:
        """False also where the server cannot sleep."""
        reply = await self._send("GET", "/is_sleeping")
        return reply.is_success and bool(reply.json()["is_sleeping"])

    async def _dev(self, path: str, params: dict[str, str]) -> None:
        reply = await self._send("POST", path, params=params, timeout=_ADMIN_SECONDS)
        if reply.status_code == 404:
            raise InferenceError(
                "The vLLM server was not started to sleep and wake.",
                next_step="Start it with `rune vllm serve`, or set VLLM_SERVER_DEV_MODE=1 and "
                "--enable-sleep-mode.",
            )
        if not reply.is_success:
            raise to_error(reply.status_code, _json(reply))

    # --- the wire ------------------------------------------------------------------------------

    @property
    def _client(self) -> httpx.AsyncClient:
        if self._opened is None:
            self._opened = httpx.AsyncClient(
                base_url=self.url,
                timeout=self._timeout,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=256),
                trust_env=False,
            )
        return self._opened

    async def _get(self, path: str) -> Json:
        return _checked(await self._send("GET", path))

    async def _post(self, path: str, body: Json) -> Json:
        return _checked(await self._send("POST", path, json=body))

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _unavailable(self.url):
            return await self._client.request(method, path, **options)


async def _events(reply: httpx.Response) -> AsyncIterator[Json]:
    """The JSON of each server-sent event, to the `[DONE]` at their end."""
    async for line in reply.aiter_lines():
        if not line.startswith(_DATA) or line == "data: [DONE]":
            continue
        event: Json = json.loads(line.removeprefix(_DATA))
        if "error" in event:
            raise to_error(int(event["error"].get("code") or 500), event)
        yield event


@contextlib.contextmanager
def _unavailable(url: str) -> Any:
    """What httpx raises, as the error that the rest of Rune knows."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise BackendUnavailableError(
            f"The vLLM server at {url} does not answer ({type(error).__name__}).",
            next_step="Look at its log; end it and start it again if it hangs.",
        ) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise BackendUnavailableError(
            f"There is no vLLM server at {url}: {error or type(error).__name__}.",
            next_step="Start one with `rune vllm serve`, or set serving.vllm_url.",
        ) from error


def _json(reply: httpx.Response) -> object:
    try:
        return reply.json()
    except ValueError:
        return reply.text


def _checked(reply: httpx.Response) -> Json:
    body = _json(reply)
    if not reply.is_success:
        raise to_error(reply.status_code, body)
    if not isinstance(body, dict):
        raise InferenceError(
            f"What listens at {reply.url} is no vLLM server.", next_step="Set serving.vllm_url."
        )
    return body


@asynccontextmanager
async def opened(url: str, answer_seconds: float = 60.0) -> AsyncIterator[VllmServer]:
    """A server for the time of a block."""
    server = VllmServer(url, answer_seconds)
    try:
        yield server
    finally:
        await server.close()
