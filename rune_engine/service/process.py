"""The engine as a process: one per home, started on demand and gone when idle, or staying.

The lock is taken before anything else is opened, and held until the process ends; the socket
exists while the engine answers. What a starter reads on stdout is described in
`rune_engine.starter`. An engine that stays takes the place of one that was started on demand.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rune_engine
from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import RuneError
from rune_engine.home import not_writable, open_lock, prepare_home, try_lock
from rune_engine.http_server import BACKLOG, http_server
from rune_engine.privacy import RedactingFormatter
from rune_engine.service.replacing import replace_engine
from rune_engine.starter import EXIT_ALREADY_RUNNING, require_unix_sockets

if TYPE_CHECKING:
    from rune_engine.service.engine import Engine

log = logging.getLogger(__name__)

_LOG_BYTES = 2 * 1024 * 1024
_LOG_FILES = 3

Tell = Callable[[dict[str, Any]], None]
"""Told one thing: that the engine is ready, or the error because of which it is not."""


def main(arguments: Sequence[str], tell: Tell | None = None) -> int:
    """Run the engine until it is told to stop or has been idle for long enough.

    Args:
        arguments: `--stay` for one that is never idle for long enough; the configuration as JSON.
        tell: told instead of stdout; the engine does not start if it raises a `RuneError`.

    Returns:
        The exit code: 0, `EXIT_ALREADY_RUNNING`, or 1 when it could not start.
    """
    stays = "--stay" in arguments
    tell = tell or _tell_starter
    given = [argument for argument in arguments if argument != "--stay"]
    try:
        require_unix_sockets()
        config = load_config(**json.loads(given[0])) if given else load_config()
        prepare_home(config)
        lock = open_lock(config.lock_path)
        if not (try_lock(lock) or (stays and replace_engine(config, lock))):
            return EXIT_ALREADY_RUNNING
        _log_to_file(config)
        asyncio.run(_serve(config, stays, tell))
    except RuneError as error:
        log.error("The engine cannot start: %s", error)
        tell({"event": "error", **error.to_envelope()})
        return 1
    return 0


async def _serve(config: RuneConfig, stays: bool, tell: Tell) -> None:
    from rune_engine.service.app import create_app
    from rune_engine.service.engine import Engine
    from rune_engine.service.openai.listening import openai_server

    engine = Engine.open(config, stays=stays)
    try:
        with _listening(config) as listener, _described(config):
            await engine.start()
            stopping = asyncio.Event()
            async with openai_server(engine, stopping) as engine.openai:
                server = http_server(create_app(engine), stopping)
                serving = asyncio.create_task(server.serve(sockets=[listener]))
                _stop_on_signals(engine)
                # From here on clients get through: uvicorn answers what has queued up meanwhile.
                listener.listen(BACKLOG)
                tell({"event": "ready", "openai": engine.openai.model_dump()})
                # On a thread: the first line of the log loads what finds secrets.
                version, pid = rune_engine.__version__, os.getpid()
                await asyncio.to_thread(log.info, "Engine %s ready, pid %d", version, pid)
                await engine.wait_until_told_to_stop(serving)
                # New clients must not find the socket any more: they wait for the lock instead.
                config.socket_path.unlink(missing_ok=True)
                stopping.set()
                await serving
    finally:
        await engine.close()
        log.info("Engine stopped")


def _stop_on_signals(engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.request_stop)


@contextlib.contextmanager
def _listening(config: RuneConfig) -> Iterator[socket.socket]:
    """The bound socket; a file left by a dead engine is removed, as the lock is ours."""
    path = config.socket_path
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise not_writable(path, error) from error
    finally:
        os.umask(before)
    try:
        with listener:
            listener.setblocking(False)
            yield listener
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _described(config: RuneConfig) -> Iterator[None]:
    """`engine.json`, for people and tools to read; nothing in Rune trusts it."""
    path = config.home / "engine.json"
    facts = {
        "pid": os.getpid(),
        "version": rune_engine.__version__,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "socket": str(config.socket_path),
    }
    _replace(path, json.dumps(facts, indent=1) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise not_writable(path, error) from error


def _log_to_file(config: RuneConfig) -> None:
    path = config.logs_path / "engine.log"
    try:
        handler = RotatingFileHandler(
            path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8"
        )
    except OSError as error:
        raise not_writable(path, error) from error
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _tell_starter(line: dict[str, Any]) -> None:
    """Write the one line, then let go of stdout; the starter may be gone already."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
