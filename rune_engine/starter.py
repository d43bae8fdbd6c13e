"""Starts the engine when nobody listens on its socket.

Any number of clients may call `start_engine` at once: the starter's lock lets one of them start
it, and the engine's own lock makes sure that there is never a second. Knows nothing of HTTP.

A starting engine writes one JSON line to its stdout: `{"event": "ready"}`, or
`{"event": "error", ...envelope}` with the reason why it cannot start. It then lets go of stdout,
so that it outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import site
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from rune_engine.config import RuneConfig
from rune_engine.errors import EngineUnavailableError, from_envelope
from rune_engine.home import locked, not_writable, prepare_home, require_private

START_SECONDS = 45.0
EXIT_ALREADY_RUNNING = 3
"""How a second engine of the same home ends."""

_RETRY_SECONDS = 0.05
_EXIT_SECONDS = 10
_TAIL_LINES = 12


def require_unix_sockets() -> None:
    """Raises EngineUnavailableError where the engine cannot work at all."""
    if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
        raise EngineUnavailableError(
            "Rune's engine needs Unix sockets and file locks, which Windows does not have.",
            next_step="Run Rune inside WSL2.",
        )


def is_listening(config: RuneConfig) -> bool:
    """True when an engine accepts connections; it does so only once it is ready."""
    path = config.socket_path
    if path.parent != config.home and path.parent.exists():
        require_private(path.parent)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def start_engine(config: RuneConfig, *, seconds: float = START_SECONDS) -> None:
    """Return once an engine of this home listens, starting one when none does. Blocks.

    Raises:
        EngineUnavailableError: it did not come up; the message ends with its log.
        HomeNotWritableError: the home cannot be written to.
        RuneError: whatever kept the engine from starting, such as DatabaseTooNewError.
    """
    require_unix_sockets()
    prepare_home(config)
    deadline = time.monotonic() + seconds
    with locked(config.home / "starter.lock", deadline=deadline):
        while not is_listening(config):
            _launch(config, deadline)
            if time.monotonic() >= deadline:
                raise _no_start(config, "did not start in time")
            time.sleep(_RETRY_SECONDS)


async def engine_started(config: RuneConfig) -> None:
    """`start_engine` for an event loop. A process that ends meanwhile does not wait for it.

    Executors join their threads when the interpreter ends, so an editor that quits while an engine
    starts would leave its server behind for as long as that takes; a daemon thread just ends.
    """
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()

    def start() -> None:
        try:
            start_engine(config)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=start, daemon=True, name="engine-starter").start()
    await asyncio.wrap_future(done)


def _launch(config: RuneConfig, deadline: float) -> None:
    """Start one engine process and wait for its first line.

    Returns also when another engine still holds the lock (one that is about to stop).
    """
    process = _spawn(config)
    # A client may live for weeks: without this, an engine that stops would stay as a zombie.
    threading.Thread(target=process.wait, daemon=True, name="engine-reaper").start()
    try:
        line = _first_line(process, deadline)
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if line is None:
        process.kill()
        raise _no_start(config, "did not start in time")
    if line.get("event") == "ready":
        return
    exit_code = process.wait(timeout=_EXIT_SECONDS)
    if line.get("event") == "error":
        raise from_envelope(line)
    if exit_code == EXIT_ALREADY_RUNNING:
        return
    raise _no_start(config, f"ended with exit code {exit_code} while starting")


def _spawn(config: RuneConfig) -> subprocess.Popen[bytes]:
    log = config.logs_path / "engine.log"
    try:
        stderr = log.open("ab")
    except OSError as error:
        raise not_writable(log, error) from error
    with stderr:
        return subprocess.Popen(
            # -P and cwd: a project's own `json.py` must never become part of the engine.
            [sys.executable, "-P", "-m", "rune_engine.service", config.model_dump_json()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=config.home,
            env=child_environment(),
            start_new_session=True,
        )


def child_environment() -> dict[str, str]:
    """This process's environment, with the source tree when Rune is not installed."""
    root = str(Path(__file__).resolve().parents[1])
    installed = {sysconfig.get_path("purelib"), *site.getsitepackages(), site.getusersitepackages()}
    if root in installed:
        return dict(os.environ)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([inherited, root] if inherited else [root])
    return {**os.environ, "PYTHONPATH": path}


def _first_line(process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any] | None:
    """The engine's first line; {} when it ended without one, None when it took too long."""
    assert process.stdout is not None
    received = b""
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return None
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            return {}
        received += chunk
    with suppress(ValueError):
        line = json.loads(received)
        if isinstance(line, dict):
            return line
    return {}


def _no_start(config: RuneConfig, what: str) -> EngineUnavailableError:
    log = config.logs_path / "engine.log"
    tail = ""
    with suppress(OSError), log.open(encoding="utf-8", errors="replace") as lines:
        # Without what only a traceback says: this reaches clients of the MCP server, too.
        told = (line for line in lines if not line.startswith((" ", "Traceback")))
        tail = "".join(deque(told, maxlen=_TAIL_LINES))
    return EngineUnavailableError(
        f"Rune's engine {what}. The end of its log:\n{tail}",
        next_step=f"Read {log}, correct what it names, and try again.",
    )
