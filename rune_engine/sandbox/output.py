"""Reads what a run prints while it runs. Knows pipes, no processes and no verdicts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 64 * 1024


class CappedOutput:
    """Keeps the head and the tail of a stream, and counts what it left out.

    `flooded` is whether more was printed than is worth reading.
    """

    def __init__(self, keep_bytes: int, flood_bytes: int) -> None:
        self._half = keep_bytes // 2
        self._flood = flood_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        self._total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: -self._half or None]

    @property
    def flooded(self) -> bool:
        return self._total > self._flood

    def text(self) -> str:
        left_out = self._total - len(self._head) - len(self._tail)
        note = f"\n... {left_out} bytes left out ...\n".encode() if left_out else b""
        return bytes(self._head + note + self._tail).decode("utf-8", "replace")


class Pipe:
    """A pipe between the engine and a run: one end is ours, `theirs` is handed over."""

    def __init__(self, *, we_read: bool) -> None:
        reading, writing = os.pipe()
        self._ours, self.theirs = (reading, writing) if we_read else (writing, reading)
        os.set_blocking(self._ours, False)
        self._open = {reading, writing}

    def hand_over(self) -> None:
        """Close the end that now belongs to the run, so that its death ends the pipe."""
        self._close(self.theirs)

    def close(self) -> None:
        for handle in list(self._open):
            self._close(handle)

    def _close(self, handle: int) -> None:
        if handle in self._open:
            self._open.discard(handle)
            os.close(handle)

    async def read_all(self, take: Callable[[bytes], None]) -> None:
        """Give `take` what arrives, until no writer is left."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def readable() -> None:
            try:
                data = os.read(self._ours, _CHUNK)
            except BlockingIOError:
                return
            if data:
                take(data)
            elif not ended.done():
                ended.set_result(None)
                loop.remove_reader(self._ours)

        loop.add_reader(self._ours, readable)
        try:
            await ended
        finally:
            loop.remove_reader(self._ours)

    async def write_all(self, data: bytes) -> None:
        """Write `data` and close; a reader that is gone is no error, its stderr says why."""
        left = memoryview(data)
        with suppress(BrokenPipeError):
            while left:
                try:
                    left = left[os.write(self._ours, left) :]
                except BlockingIOError:
                    await self._writable()
        self._close(self._ours)

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Event()
        loop.add_writer(self._ours, room.set)
        try:
            await room.wait()
        finally:
            loop.remove_writer(self._ours)
