"""The pre-forked interpreter: it waits, and every run is a fork of it.

    python -c BOOT CHANNEL_FD ENGINE_PID < configuration

One thread, no lock, no file or socket but its channel. A request is one byte on the channel with
four handles: payload, stdout, stderr, status. Only the fork reads the payload, so nothing of one
run is ever in the memory of the next. Its first word on the status socket is "P", its process id
as text and ";", with its process handle where the system has those; what follows is the warden's.
A channel that ends means that the engine is gone.
"""

from __future__ import annotations

import _socket
import gc
import importlib
import marshal
import os
import signal
import sys

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_HANDLES = 4
_SIZE = 4  # bytes of a handle in a control message
# fmt: off
_WARM = (
    "array", "base64", "bisect", "collections.abc", "contextlib", "copy", "csv", "dataclasses",
    "datetime", "decimal", "fractions", "functools", "hashlib", "heapq", "itertools", "json",
    "linecache", "math", "operator", "random", "statistics", "string", "struct", "textwrap",
    "time", "traceback", "types", "typing", "unittest",
)
# fmt: on
"""What tests commonly import, so that no run pays for it."""


def preload() -> None:
    """Import what runs are likely to need, and keep the collector's hands off it."""
    for name in _WARM:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def configuration() -> dict[str, Any]:
    """What the engine wrote to stdin, which is empty from then on."""
    return dict(_take_stdin())


def _take_stdin() -> Any:
    data = bytearray()
    while more := os.read(0, 1 << 20):
        data += more
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return marshal.loads(data)


def serve(
    channel_handle: int,
    fork: Callable[[], int],
    run: Callable[[dict[str, Any], int], NoReturn],
) -> NoReturn:
    """Fork with `fork` for every request; the fork calls `run` with its payload and status."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    channel = _socket.socket(fileno=channel_handle)
    while True:
        data, handles = _receive(channel)
        if not data:
            os._exit(0)
        if fork() == 0:
            channel.close()
            run(*_become_run(handles))
        for handle in handles:
            os.close(handle)


def _receive(channel: _socket.socket) -> tuple[bytes, list[int]]:
    data, control, _, _ = channel.recvmsg(1, _socket.CMSG_LEN(_HANDLES * _SIZE))
    handles = [
        int.from_bytes(body[at : at + _SIZE], sys.byteorder)
        for _, _, body in control
        for at in range(0, len(body), _SIZE)
    ]
    return data, handles


def _announce(status_handle: int) -> None:
    """Tell the engine what to end and to wait for."""
    status = _socket.socket(fileno=os.dup(status_handle))
    control = []
    if sys.platform == "linux":
        own = os.pidfd_open(os.getpid())
        rights = own.to_bytes(_SIZE, sys.byteorder)
        control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
    status.sendmsg([b"P%d;" % os.getpid()], control)
    status.close()
    if sys.platform == "linux":
        os.close(own)


def _become_run(handles: list[int]) -> tuple[dict[str, Any], int]:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for target, handle in enumerate(handles[:3]):
        os.dup2(handle, target)
        os.close(handle)
    _announce(handles[3])
    return _take_stdin(), handles[3]
