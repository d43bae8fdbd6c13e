"""A vLLM server as a child process: started, waited for, told to end. Nothing is left of it.

Knows processes, and two requests that tell whether it is up; nothing of adapters. Blocks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from rune_engine.errors import BackendUnavailableError, InvalidInputError
from rune_engine.inference.vllm.canary import PROMPT
from rune_engine.inference.vllm.command import HOST, ServerSettings, command, environment

_POLL_SECONDS = 0.25
_END_SECONDS = 20.0
_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1


class ServerProcess:
    """A started server and every process of its own; use it as a context manager.

    Raises:
        InvalidInputError: something else listens on its port, or its Python is not there.
    """

    def __init__(self, settings: ServerSettings, log: Path) -> None:
        _require_free(settings.port)
        self._settings = settings
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    command(settings),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment(os.environ),
                    start_new_session=True,
                    preexec_fn=_end_with_parent if sys.platform == "linux" else None,
                )
            except OSError as error:
                raise InvalidInputError(
                    f"{settings.python} cannot be started: {error.strerror}.",
                    next_step="Name the Python of the environment that has vLLM: --python.",
                ) from error

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_healthy(self, seconds: float) -> None:
        """Return once it has answered a prompt.

        Its health alone is not enough: the CPU build of 0.32 dies of a prompt of one token where
        that is its first.

        Raises:
            BackendUnavailableError: it ended, or took longer; the message has its log's end.
        """
        deadline = time.monotonic() + seconds
        with httpx.Client(base_url=self._settings.url, trust_env=False, timeout=5.0) as client:
            while not _succeeds(client, "GET", "/health"):
                if self._process.poll() is not None:
                    raise self._failure(f"ended with status {self._process.returncode}")
                if time.monotonic() >= deadline:
                    raise self._failure(f"was not ready after {seconds:.0f} s")
                time.sleep(_POLL_SECONDS)
            asked = {"prompt": PROMPT, "max_tokens": 2, "temperature": 0}
            body = {"model": self._settings.base_model_id, **asked}
            left = max(5.0, deadline - time.monotonic())
            if not _succeeds(client, "POST", "/v1/completions", json=body, timeout=left):
                raise self._failure("is healthy, but does not answer")

    def wait(self) -> None:
        """Return never but by an error or a signal.

        Raises:
            BackendUnavailableError: the server ended; the message has its log's end.
        """
        status = self._process.wait()
        raise self._failure(f"ended with status {status}")

    def end(self) -> None:
        """Tell it to end, and kill what is left of it."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _failure(self, what: str) -> BackendUnavailableError:
        tail = ""
        with suppress(OSError), self._log.open(encoding="utf-8", errors="replace") as lines:
            tail = "".join(deque(lines, maxlen=_TAIL_LINES))
        return BackendUnavailableError(
            f"The vLLM server {what}. The end of its log:\n{tail}",
            next_step=f"The whole log is {self._log}.",
        )


def _succeeds(client: httpx.Client, method: str, path: str, **options: Any) -> bool:
    try:
        return client.request(method, path, **options).is_success
    except httpx.TransportError:
        return False


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InvalidInputError(
                f"Port {port} is taken: {error.strerror}.",
                next_step="End what listens there, or name another one with --port and in "
                "serving.vllm_url.",
            ) from error


def _end_with_parent() -> None:
    """Runs in the child: it is told to end when we die, even by a SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
