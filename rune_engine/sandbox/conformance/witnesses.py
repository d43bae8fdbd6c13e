"""Small looks from outside: was a listener called, a terminal typed into, a process touched?

Knows no scene; each reads one thing once.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def limits_of(pid: int) -> str:
    return _proc(pid, "limits")


def is_stopped(pid: int) -> bool:
    state = _proc(pid, "stat").rpartition(")")[2].split()[:1]
    return state in (["T"], ["t"])


def environment_memory(pid: int) -> tuple[int, int]:
    """Where the kernel put a process's environment."""
    fields = _proc(pid, "stat").rpartition(")")[2].split()
    return (int(fields[47]), int(fields[48])) if len(fields) > 48 else (0, 0)


def kernel_keys() -> str:
    try:
        return Path("/proc/keys").read_text()
    except OSError:
        return ""


def names_host(said: str) -> bool:
    """Whether the machine's name was told; where Rune is installed is a stated limit."""
    return f"<{socket.gethostname()}>" in said


def heard(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except OSError:
        return False
    return True


def received(listener: socket.socket) -> bool:
    try:
        return bool(listener.recv(100))
    except OSError:
        return False


def has_input(terminal: int) -> bool:
    try:
        return bool(os.read(terminal, 100))
    except OSError:
        return False
