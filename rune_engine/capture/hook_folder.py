"""`$RUNE_HOME/hooks`, seen from the engine: what hooks left there, and what they may write.

A hook cannot ask the database, so the folder says what the user decided: `.claude-code.allowed`
(with the command that starts the engine) or `.claude-code.forbidden`, or neither.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rune_engine.capture.importers import claude_hooks
from rune_engine.config import RuneConfig
from rune_engine.errors import InvalidInputError
from rune_engine.home import not_writable
from rune_engine.models import SourceState
from rune_engine.starter import child_environment

SOURCE = "claude-code"
"""The agent whose hooks these are."""


@dataclass(frozen=True, slots=True)
class Hooked:
    """A session that hooks tell of."""

    file: Path
    transcript: Path | None
    ended: bool


class HookFolder:
    """The hooks of one home."""

    def __init__(self, config: RuneConfig) -> None:
        self._config = config
        self.path = config.hooks_path

    def tell(self, state: SourceState) -> None:
        """Let the hooks know what the user decided.

        Raises:
            HomeNotWritableError, DiskFullError: the folder cannot be written to.
        """
        allowed, forbidden = (self.path / f".{SOURCE}.{word}" for word in ("allowed", "forbidden"))
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            (allowed if state != "allowed" else forbidden).unlink(missing_ok=True)
            if state == "allowed":
                _write(allowed, json.dumps(self._starting()))
            elif state == "forbidden":
                _write(forbidden, "")
                for file in self.files():
                    file.unlink(missing_ok=True)
            else:
                forbidden.unlink(missing_ok=True)
        except OSError as error:
            raise not_writable(self.path, error) from error

    def files(self) -> Sequence[Path]:
        """What hooks left, a file a session."""
        with suppress(OSError):
            return sorted(p for p in self.path.iterdir() if claude_hooks.unit_of(p) is not None)
        return []

    def read(self, file: Path) -> Hooked | None:
        """What a session's file says now; None when it is gone or says nothing."""
        try:
            (session,) = claude_hooks.read(file).sessions
            transcript = claude_hooks.transcript_of(file)
        except InvalidInputError:
            return None
        readable = transcript is not None and transcript.is_file()
        return Hooked(file, transcript if readable else None, session.ended)

    def remove(self, file: Path) -> None:
        """A session's file has been taken up."""
        with suppress(OSError):
            file.unlink(missing_ok=True)

    def _starting(self) -> dict[str, object]:
        """The command that starts this home's engine, and what it needs of the environment."""
        environment = {"RUNE_HOME": str(self._config.home)}
        if path := child_environment().get("PYTHONPATH"):
            environment["PYTHONPATH"] = path
        command = [sys.executable, "-P", "-m", "rune_engine.cli.main", "engine", "start"]
        return {"command": command, "environment": environment}


def _write(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    new.replace(path)
