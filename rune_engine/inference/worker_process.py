"""A child process that answers JSON lines: started, asked, cancelled, buried.

Knows pipes and process ids; knows nothing of models. Belongs to the event loop it was started in.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from rune_engine.errors import WorkerDiedError, from_envelope
from rune_engine.inference.wire import Message, to_line

_LONGEST_LINE = 64 * 1024**2
_STDERR_TAIL = 2000
_STOP_SECONDS = 5.0


class WorkerProcess:
    """One running worker; every call in flight ends when the process does."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._hearing: dict[str, Callable[[str], None]] = {}
        self._ids = itertools.count(1)
        self._stderr = b""
        self._stderr_reader = asyncio.create_task(self._read_stderr())
        self._reply_reader = asyncio.create_task(self._read_replies())

    @classmethod
    async def start(cls, command: Sequence[str], cwd: Path) -> WorkerProcess:
        """Start `command`; its own session keeps a terminal's Ctrl-C from it."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs, asked of the system: a killed one is seen at once."""
        if self._process.returncode is not None or self._reply_reader.done():
            return False
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    async def ask(self, message: Message, on_text: Callable[[str], None] | None = None) -> Message:
        """Send a message and wait for its answer; cancelling sends `cancel` to the worker.

        `on_text` is called with each piece of text that comes before the answer.

        Raises:
            WorkerDiedError: the process ended before it answered.
            RuneError: the error that the worker answered with.
        """
        if not self.alive:
            raise self._death()
        call = str(next(self._ids))
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[call] = answer
        if on_text is not None:
            self._hearing[call] = on_text
        try:
            await self._send(message | {"id": call})
            reply = await answer
        except asyncio.CancelledError:
            self._write({"op": "cancel", "id": call})
            raise
        finally:
            self._waiting.pop(call, None)
            self._hearing.pop(call, None)
        if "error" in reply:
            raise from_envelope(reply["error"])
        return reply

    async def stop(self) -> None:
        """Close its stdin, at which it ends; kill it if it does not. Returns when it is gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await asyncio.wait([self._reply_reader, self._stderr_reader], timeout=_STOP_SECONDS)

    def _write(self, message: Message) -> None:
        assert self._process.stdin is not None
        if self.alive:
            self._process.stdin.write(to_line(message))

    async def _send(self, message: Message) -> None:
        assert self._process.stdin is not None
        self._write(message)
        # A worker that dies now is noticed by the reader, with its exit status.
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()

    async def _read_replies(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._hear(json.loads(line))
        except ValueError:  # not a line of ours: nothing it says can be trusted any more
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await asyncio.wait([self._stderr_reader], timeout=_STOP_SECONDS)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._death())

    def _hear(self, reply: dict[str, Any]) -> None:
        call = str(reply["id"])
        if "text" in reply:
            if (hearing := self._hearing.get(call)) is not None:
                hearing(reply["text"])
            return
        waiting = self._waiting.get(call)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(4096):
            self._stderr = (self._stderr + chunk)[-_STDERR_TAIL:]

    def _death(self) -> WorkerDiedError:
        said = "\n".join(self._stderr.decode(errors="replace").strip().splitlines()[-5:])
        return WorkerDiedError(
            f"The model worker (process {self.pid}) ended with status {self._process.returncode}."
            + (f" It last said: {said}" if said else ""),
            next_step="Try again: the next call starts a new worker. If it dies each time, "
            "the machine may be short of memory for this base model.",
        )
