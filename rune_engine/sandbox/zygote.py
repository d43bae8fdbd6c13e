"""The engine's side of the pre-forked interpreter: start it, ask it for runs, replace it.

One warm zygote per tier and process serves every run with hash seed 0; any other run gets a cold
one of its own. It is replaced after `MOST_RUNS` runs, and when it is dead or silent. Knows neither
requests nor verdicts. What runs in it is `inside/zygote.py`.
"""

from __future__ import annotations

import asyncio
import atexit
import marshal
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

from rune_engine.sandbox.tiers import Tier, environment

MOST_RUNS = 2000
_CHUNK = 64 * 1024
_STOP_SECONDS = 5.0


class RunProcess:
    """The first process of one run: when it has ended, so has everything that it started."""

    def __init__(self, number: int, handle: int | None) -> None:
        self._number = number
        self._handle = handle

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if sys.platform == "linux" and self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            else:
                os.killpg(self._number, signal.SIGKILL)

    async def ended(self) -> None:
        """Returns when it is dead; at once where the system has no handles for processes."""
        if self._handle is not None:
            await _readable(self._handle)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


async def _readable(handle: int) -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(handle)


class Status:
    """What a run says of itself: first that it is there ("P", its process), then its records."""

    _FIRST = re.compile(rb"P(\d+);")

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self.records = bytearray()
        self.process: RunProcess | None = None
        self.over = False

    def hand_over(self) -> None:
        self.theirs.close()

    async def started(self) -> RunProcess | None:
        """The run's process; None when there will be none."""
        while self.process is None and not self.over:
            await self._more()
        return self.process

    async def read_all(self) -> None:
        while not self.over:
            await self._more()

    async def _more(self) -> None:
        try:
            data, handles, _, _ = socket.recv_fds(self._ours, _CHUNK, 1)
        except BlockingIOError:
            await _readable(self._ours.fileno())
            return
        except ConnectionResetError:
            data, handles = b"", []
        self.over = not data
        self.records += data
        first = self._FIRST.match(self.records) if self.process is None else None
        if first is not None:
            self.process = RunProcess(int(first[1]), handles[0] if handles else None)
            self.records = self.records[first.end() :]

    def close(self) -> None:
        self._ours.close()
        self.theirs.close()
        if self.process is not None:
            self.process.close()


class Zygote:
    """One interpreter that forks. Bound to no event loop; `close` ends it and all its runs."""

    def __init__(self, tier: Tier, *, preload: bool, hash_seed: int = 0) -> None:
        self._channel, theirs = socket.socketpair()
        self._errors, errors = os.pipe()
        os.set_blocking(self._errors, False)
        self.owner = os.getpid()
        self.runs = self.running = 0
        self.retired = False
        try:
            self._keeper = subprocess.Popen(
                tier.command([str(theirs.fileno()), str(self.owner)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment(hash_seed),
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError:
            self._close_handles()
            raise
        finally:
            theirs.close()
            os.close(errors)
        assert self._keeper.stdin is not None
        with suppress(BrokenPipeError), self._keeper.stdin as stdin:
            stdin.write(marshal.dumps({**tier.configuration(), "preload": preload}))

    @property
    def pid(self) -> int:
        """The process that was started; the one that forks may be its child."""
        return self._keeper.pid

    def alive(self) -> bool:
        return self._keeper.poll() is None

    def submit(self, handles: list[int]) -> bool:
        """Ask for a run over `handles`; whether that was possible."""
        try:
            socket.send_fds(self._channel, [b"r"], handles, socket.MSG_DONTWAIT)
        except OSError:  # it is dead, or so far behind that it does not count
            return False
        self.runs += 1
        return True

    def said(self) -> str:
        """What it wrote before it failed."""
        try:
            return os.read(self._errors, _CHUNK).decode("utf-8", "replace")
        except BlockingIOError:
            return ""

    def close(self) -> None:
        """End it and wait until nothing is left; bounded."""
        self._stop()
        try:
            self._keeper.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._close_handles()

    async def aclose(self) -> None:
        """As `close`, letting others run meanwhile."""
        self._stop()
        if sys.platform == "linux" and self.alive():
            handle = os.pidfd_open(self.pid)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_SECONDS):
                        await _readable(handle)
            finally:
                os.close(handle)
        self.close()

    def _stop(self) -> None:
        with suppress(ProcessLookupError):
            self._keeper.terminate()

    def _close_handles(self) -> None:
        self._channel.close()
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1


_standing: dict[str, Zygote] = {}
_lock = threading.Lock()


def take(tier: Tier) -> Zygote:
    """The warm zygote of `tier`, started where none stands; to be given back.

    Raises:
        OSError: no process could be started.
    """
    with _lock:
        zygote = _standing.get(tier.name)
        if zygote is not None and zygote.owner != os.getpid():
            zygote = None  # our parent's: we were forked
        if zygote is not None and (zygote.runs >= MOST_RUNS or not zygote.alive()):
            _retire(zygote)
            zygote = None
        if zygote is None:
            zygote = _standing[tier.name] = Zygote(tier, preload=True)
        zygote.running += 1
        return zygote


def give_back(zygote: Zygote, *, broken: bool) -> None:
    """A run of it is over; a broken one serves no other, and ends when its last run has."""
    with _lock:
        zygote.running -= 1
        if broken:
            zygote.retired = True
            for name in [name for name, other in _standing.items() if other is zygote]:
                del _standing[name]
        if zygote.retired and not zygote.running:
            zygote.close()


def _retire(zygote: Zygote) -> None:
    zygote.retired = True
    if not zygote.running:
        zygote.close()


def standing() -> list[int]:
    """The processes that wait for runs, as `Zygote.pid`."""
    with _lock:
        return [zygote.pid for zygote in _standing.values() if zygote.owner == os.getpid()]


@atexit.register
def close_all() -> None:
    """End the zygotes that wait. They would also end with this process, but nobody reaped them."""
    with _lock:
        for zygote in _standing.values():
            if zygote.owner == os.getpid():
                zygote.close()
        _standing.clear()
