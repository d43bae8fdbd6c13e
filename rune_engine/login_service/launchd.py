"""The engine as a launchd agent (macOS)."""

from __future__ import annotations

import os
import plistlib
import time
from pathlib import Path

from rune_engine.errors import ServiceManagerError
from rune_engine.login_service.service import (
    MARK,
    LoginService,
    ask_manager,
    command,
    environment,
    home_suffix,
    tell_manager,
)

_GONE_SECONDS = 30.0
_POLL_SECONDS = 0.2


class Launchd(LoginService):
    """`launchctl`, and an agent in the user's own folder."""

    @property
    def label(self) -> str:
        return f"dev.rune.engine{home_suffix(self.config)}"

    @property
    def path(self) -> Path:
        return Path.home() / "Library" / "LaunchAgents" / f"{self.label}.plist"

    def content(self) -> bytes:
        return plistlib.dumps(
            {
                "Label": self.label,
                "ProgramArguments": command(),
                "EnvironmentVariables": environment(self.config) | {"RUNE_SERVICE": MARK},
                "WorkingDirectory": str(self.config.home),
                "RunAtLoad": True,
                "KeepAlive": True,
                "ThrottleInterval": 30,
                "StandardErrorPath": str(self.config.logs_path / "service.log"),
            }
        )

    def install(self) -> list[str]:
        self.write()
        try:
            if self._loaded():
                self._unload()
            tell_manager(["launchctl", "bootstrap", _domain(), str(self.path)])
        except ServiceManagerError:
            self.path.unlink(missing_ok=True)
            raise
        return [f"Wrote {self.path}.", f"Loaded and started {self.label}."]

    def uninstall(self) -> list[str]:
        if not self.installed:
            return [f"Nothing was installed: {self.path} is not there, or not ours."]
        if self._loaded():
            self._unload()
        self.path.unlink(missing_ok=True)
        return [f"Stopped and unloaded {self.label}.", f"Removed {self.path}."]

    def state(self) -> str:
        try:
            return "active" if self._loaded() else "inactive"
        except ServiceManagerError:
            return "unknown"

    def _loaded(self) -> bool:
        answer = ask_manager(["launchctl", "print", f"{_domain()}/{self.label}"])
        return answer.returncode == 0

    def _unload(self) -> None:
        """Unload the agent, and wait until it is gone: loading it before would fail."""
        tell_manager(["launchctl", "bootout", f"{_domain()}/{self.label}"])
        deadline = time.monotonic() + _GONE_SECONDS
        while self._loaded() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def _domain() -> str:
    return f"gui/{os.getuid()}"
