"""The hook that Claude Code calls: puts one line into `$RUNE_HOME/hooks/` and leaves.

    rune-hook < EVENT.json
    python3 -I -S .../rune_engine/capture/hook.py < EVENT.json

Standard library only, and as little of it as can be: a host waits for it at every tool call. It
always exits with 0, prints nothing, never waits for the engine. What a tool said is only written
down once the user has allowed this source; before that only that there is a session, and where.
Unlike all else here it reads the environment itself: it imports nothing of ours.
"""

import json
import os
import sys

_AGENT = "claude-code"
_MAX_INPUT = 16 * 1024 * 1024
_MAX_TEXT = 64 * 1024
_MAX_LINE = 1024 * 1024
_MAX_FILE = 64 * 1024 * 1024
_ALWAYS = ("hook_event_name", "session_id", "transcript_path", "cwd", "reason", "agent_id")
_WAKING = ("SessionStart", "SessionEnd")
_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

# Not annotated beyond what mypy asks: `typing` would cost as much as the rest.


def main() -> None:
    """Take the event from stdin; never fail, whatever it is."""
    try:  # noqa: SIM105 - contextlib would cost a third of the whole
        _take(sys.stdin.buffer.read(_MAX_INPUT))
    except Exception:  # noqa: BLE001, S110 - a failing hook would disturb its host
        pass
    sys.exit(0)


def _take(data: bytes) -> None:
    home = os.environ.get("RUNE_HOME") or os.path.expanduser("~/.rune")
    folder = os.path.join(home, "hooks")
    if os.path.exists(os.path.join(folder, f".{_AGENT}.forbidden")) or not os.path.isdir(home):
        return
    allowed = os.path.join(folder, f".{_AGENT}.allowed")
    is_allowed = os.path.exists(allowed)
    event = json.loads(data)
    line = _line(event, is_allowed)
    _append(folder, str(event["session_id"]), line)
    if is_allowed and event.get("hook_event_name") in _WAKING:
        _start_engine(home, allowed)


def _line(event: dict, is_allowed: bool) -> bytes:  # type: ignore[type-arg]
    """The event as a line, with long texts cut; only what names the session if that is all."""
    named = {name: event[name] for name in _ALWAYS if isinstance(event.get(name), str)}
    if is_allowed:
        line = json.dumps(_shortened(event)).encode()
        if len(line) <= _MAX_LINE:
            return line
    return json.dumps(named).encode()


def _shortened(value: object) -> object:
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return value[: _MAX_TEXT // 2] + "\n[...]\n" + value[-_MAX_TEXT // 2 :]
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list) else value


def _append(folder: str, session_id: str, line: bytes) -> None:
    """One write to the session's file: lines of several hooks at once never mix.

    A newline before it, too: what a full disk has cut off spoils no other line.
    """
    os.makedirs(folder, 0o700, exist_ok=True)
    name = "".join(c if c in _SAFE else "_" for c in session_id)[:80] or "_"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(os.path.join(folder, name + ".jsonl"), flags, 0o600)
    try:
        if os.fstat(descriptor).st_size < _MAX_FILE:
            os.write(descriptor, b"\n" + line + b"\n")
    finally:
        os.close(descriptor)


def _start_engine(home: str, allowed: str) -> None:
    """Start the engine if none runs, by the command that it left itself; wait for nothing."""
    import fcntl

    with open(allowed, "rb") as file:
        given = json.loads(file.read())
    lock = os.open(os.path.join(home, "engine.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # it runs
    finally:
        os.close(lock)
    nothing = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    environment = {**os.environ, **given["environment"]}
    command = given["command"]
    os.posix_spawn(command[0], command, environment, file_actions=nothing, setpgroup=0)


if __name__ == "__main__":
    main()
