"""How a call reaches the engine: attaches to the one of this home, or starts it.

Importing this module is light; httpx is loaded at the first call. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.errors import EngineUnavailableError, RuneError, from_envelope
from rune_engine.home import locked
from rune_engine.models import EngineHealth, Model
from rune_engine.starter import engine_started, is_listening, require_unix_sockets

if TYPE_CHECKING:
    import httpx

_Answer = TypeVar("_Answer", bound=Model)

_READ_SECONDS = 120.0
_STOP_SECONDS = 20.0
_CONNECT_ATTEMPTS = 3


class EngineConnection:
    """Calls of the one engine of `config.home`.

    Every method raises the engine's own error (`RuneError` and below), and
    `EngineUnavailableError` when the engine cannot be reached or died over the call.
    """

    def __init__(self, config: RuneConfig) -> None:
        self._config = config
        self._http: httpx.AsyncClient | None = None
        self._attached = False

    async def aclose(self) -> None:
        """Close the connection; the engine goes on."""
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    async def ask(
        self,
        answer: type[_Answer],
        method: str,
        path: str,
        *,
        body: Model | None = None,
        query: dict[str, Any] | None = None,
        repeatable: bool = False,
    ) -> _Answer:
        """Send one request, on a fresh engine when the last one has just gone.

        A request that never reached an engine is sent again; so is one that did, when repeating
        it changes nothing. Any other interrupted call is reported.
        """
        import httpx

        for _ in range(_CONNECT_ATTEMPTS):
            if not self._attached:
                await self.attach()
            try:
                return answer.model_validate(await self._send(method, path, body, query))
            except httpx.ConnectError:
                self._attached = False
            except httpx.TransportError as error:
                if not (repeatable or method == "GET"):
                    raise _interrupted(path, error) from error
                self._attached = False
        raise EngineUnavailableError(
            f"Rune's engine went away {_CONNECT_ATTEMPTS} times over {path}.",
            next_step=f"Read {self._config.logs_path / 'engine.log'} and try again.",
        )

    async def ask_if_listening(
        self, answer: type[_Answer], method: str, path: str, *, body: Model | None = None
    ) -> _Answer | None:
        """As `ask`, of an engine that runs already; None where none does."""
        told = await self._tell_if_listening(method, path, body)
        return None if told is None else answer.model_validate(told)

    async def health(self) -> EngineHealth | None:
        """The running engine's health, whatever its version, or None; never starts one."""
        told = await self._tell_if_listening("GET", "/health")
        if told is None:
            return None
        # Another version's answer may hold more than we know.
        known = {key: told[key] for key in EngineHealth.model_fields if key in told}
        return EngineHealth.model_validate(known)

    async def attach(self) -> None:
        """Make sure that an engine of our own version listens."""
        require_unix_sockets()
        await engine_started(self._config)
        health = await self.health()
        if health is not None and health.version != rune_engine.__version__:
            await self._replace(health)
        self._attached = True

    async def stop(self) -> bool:
        """Stop the engine and wait until it is gone; False when none ran."""
        import httpx

        if await self.health() is None:
            return False
        with suppress(httpx.TransportError):
            await self._send("POST", "/stop", None, None)
        await asyncio.to_thread(_wait_until_gone, self._config)
        return True

    async def _replace(self, health: EngineHealth) -> None:
        if health.busy:
            raise EngineUnavailableError(
                f"Rune's engine is version {health.version} and is working; this is version "
                f"{rune_engine.__version__}.",
                next_step="Wait for its jobs, or run `rune engine stop`, then try again.",
            )
        await self.stop()
        await engine_started(self._config)

    async def _tell_if_listening(self, method: str, path: str, body: Model | None = None) -> Any:
        import httpx

        require_unix_sockets()
        if not await asyncio.to_thread(is_listening, self._config):
            return None
        try:
            return await self._send(method, path, body, None)
        except httpx.TransportError:
            return None

    async def _send(
        self, method: str, path: str, body: Model | None, query: dict[str, Any] | None
    ) -> Any:
        content = None if body is None else body.model_dump_json().encode()
        params = {key: value for key, value in (query or {}).items() if value is not None}
        response = await self._connected().request(
            method,
            path,
            content=content,
            params=params,
            headers={"content-type": "application/json"},
        )
        answer = response.json()
        if response.is_error:
            raise from_envelope(answer["error"])
        return answer

    def _connected(self) -> httpx.AsyncClient:
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(
                    uds=str(self._config.socket_path),
                    # A kept connection may belong to an engine that is gone by the next call.
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                ),
                base_url="http://engine",
                trust_env=False,
                timeout=httpx.Timeout(_READ_SECONDS, connect=5.0),
            )
        return self._http


def _interrupted(path: str, error: Exception) -> RuneError:
    return EngineUnavailableError(
        f"Rune's engine went away while it handled {path} ({type(error).__name__}); whether it "
        "was done is not known.",
        next_step="Look at the list of jobs (`rune jobs list`), then repeat the call if needed.",
    )


def _wait_until_gone(config: RuneConfig) -> None:
    """Wait until the stopping engine has let go of its lock."""
    with locked(config.lock_path, deadline=time.monotonic() + _STOP_SECONDS):
        return
