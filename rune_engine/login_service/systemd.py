"""The engine as a systemd user unit."""

from __future__ import annotations

from pathlib import Path

import platformdirs

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
from rune_engine.starter import EXIT_ALREADY_RUNNING

_UNIT = """\
# {mark}
[Unit]
Description=Rune engine of {home}
StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
{environment}
WorkingDirectory={home}
Restart=always
RestartSec=5
RestartPreventExitStatus={already_running}
# The engine ends its own children, and a trainer that ran out of memory is not the engine's end.
KillMode=mixed
OOMPolicy=continue
TimeoutStopSec=30

[Install]
WantedBy=default.target
"""

_SYSTEMCTL = ("systemctl", "--user", "--no-pager")


class Systemd(LoginService):
    """`systemctl --user`, and a unit in the user's own folder."""

    @property
    def unit(self) -> str:
        return f"rune-engine{home_suffix(self.config)}.service"

    @property
    def path(self) -> Path:
        folder = platformdirs.user_config_path() / "systemd" / "user"
        return folder / self.unit

    def content(self) -> bytes:
        unit = _UNIT.format(
            mark=MARK,
            home=_escaped(str(self.config.home)),
            command=" ".join(_quoted(part).replace("$", "$$") for part in command()),
            environment="\n".join(
                f"Environment={_quoted(f'{name}={value}')}"
                for name, value in environment(self.config).items()
            ),
            already_running=EXIT_ALREADY_RUNNING,
        )
        return unit.encode()

    def install(self) -> list[str]:
        _require_bus()
        self.write()
        try:
            tell_manager([*_SYSTEMCTL, "daemon-reload"])
            tell_manager([*_SYSTEMCTL, "enable", self.unit])
            # Also where an older form of it runs already.
            tell_manager([*_SYSTEMCTL, "restart", self.unit])
        except ServiceManagerError:
            self._remove()
            raise
        return [f"Wrote {self.path}.", f"Enabled and started {self.unit}."]

    def uninstall(self) -> list[str]:
        if not self.installed:
            return [f"Nothing was installed: {self.path} is not there, or not ours."]
        _require_bus()
        self._remove()
        return [f"Stopped and disabled {self.unit}.", f"Removed {self.path}."]

    def state(self) -> str:
        try:
            answer = ask_manager([*_SYSTEMCTL, "is-active", self.unit])
        except ServiceManagerError:
            return "unknown"
        return answer.stdout.strip() or "unknown"

    def _remove(self) -> None:
        ask_manager([*_SYSTEMCTL, "disable", "--now", self.unit])
        self.path.unlink(missing_ok=True)
        ask_manager([*_SYSTEMCTL, "daemon-reload"])
        ask_manager([*_SYSTEMCTL, "reset-failed", self.unit])


def _require_bus() -> None:
    answer = ask_manager([*_SYSTEMCTL, "show-environment"])
    if answer.returncode != 0:
        raise ServiceManagerError(
            f"systemd does not run for this user: {answer.stderr.strip()}",
            next_step="Log in as this user, or let its services run without a login: "
            "`sudo loginctl enable-linger $USER`. In a container there is no such thing: run "
            "`rune daemon run` instead.",
        )


def _escaped(value: str) -> str:
    """Text in which systemd finds nothing to expand."""
    return value.replace("\\", "\\\\").replace("%", "%%").replace("\n", "\\n")


def _quoted(value: str) -> str:
    return '"' + _escaped(value).replace('"', '\\"') + '"'
