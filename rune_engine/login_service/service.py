"""What every service manager does for Rune, and which one this system has."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from rune_engine.config import RuneConfig, default_home
from rune_engine.errors import ServiceManagerError
from rune_engine.home import not_writable
from rune_engine.starter import child_environment

MARK = "Written by `rune daemon install`; `rune daemon uninstall` removes it."
"""In every file of ours: a file without it is somebody else's and stays."""

_COMMAND_SECONDS = 60.0
_TAIL_CHARS = 500


class LoginService(ABC):
    """The engine of one home as a service of this user."""

    def __init__(self, config: RuneConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def path(self) -> Path:
        """The one file that installing writes."""

    @abstractmethod
    def content(self) -> bytes:
        """What belongs in it."""

    @abstractmethod
    def install(self) -> list[str]:
        """Write the file and start the service, now and at every login.

        Returns:
            A sentence for each thing that was done.

        Raises:
            ServiceManagerError: there is no manager to talk to, or it refused; nothing is left.
            HomeNotWritableError: the file cannot be written.
        """

    @abstractmethod
    def uninstall(self) -> list[str]:
        """Stop the service and remove what `install` wrote; the same return and errors."""

    @abstractmethod
    def state(self) -> str:
        """What the manager says of it, in a word or two; never raises."""

    @property
    def installed(self) -> bool:
        return self.path.is_file() and MARK.encode() in self.path.read_bytes()

    def write(self) -> None:
        """Write the file, unless one that is not ours has its place.

        Raises:
            ServiceManagerError: a file without our mark is there.
        """
        if self.path.exists() and not self.installed:
            raise ServiceManagerError(
                f"{self.path} was not written by Rune, so it is not replaced.",
                next_step="Move that file away, then install again.",
            )
        new = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(self.content())
            new.replace(self.path)
        except OSError as error:
            raise not_writable(self.path, error) from error


def login_service(config: RuneConfig) -> LoginService:
    """The service of this home, on this system.

    Raises:
        ServiceManagerError: neither systemd nor launchd is here.
    """
    from rune_engine.login_service.launchd import Launchd
    from rune_engine.login_service.systemd import Systemd

    if sys.platform == "darwin":
        return Launchd(config)
    if shutil.which("systemctl"):
        return Systemd(config)
    raise ServiceManagerError(
        "This system has neither systemd nor launchd to start the engine at login.",
        next_step="Let whatever starts your programs run `rune daemon run`.",
    )


def command() -> list[str]:
    """What the service runs. -P: a folder it happens to stand in never becomes part of it."""
    return [sys.executable, "-P", "-m", "rune_engine.service", "--stay"]


def environment(config: RuneConfig) -> dict[str, str]:
    """What the service's environment needs; every other setting belongs in `config.toml`."""
    needed = {"RUNE_HOME": str(config.home)}
    path = child_environment().get("PYTHONPATH")
    if path is not None and path != os.environ.get("PYTHONPATH"):
        needed["PYTHONPATH"] = path
    return needed


def home_suffix(config: RuneConfig) -> str:
    """Nothing for the usual home; for another, what tells its service from that one's."""
    if config.home == default_home():
        return ""
    return "-" + hashlib.sha256(os.fsencode(config.home)).hexdigest()[:8]


def ask_manager(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the manager's command; its exit code is the caller's to judge.

    Raises:
        ServiceManagerError: it cannot be run, or does not answer.
    """
    try:
        return subprocess.run(
            arguments, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceManagerError(
            f"`{' '.join(arguments)}` did not work: {error}",
            next_step="Let whatever starts your programs run `rune daemon run`.",
        ) from error


def tell_manager(arguments: Sequence[str]) -> None:
    """Run the manager's command.

    Raises:
        ServiceManagerError: it refused; the message ends with what it said.
    """
    ended = ask_manager(arguments)
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip()[-_TAIL_CHARS:]
        raise ServiceManagerError(
            f"`{' '.join(arguments)}` ended with exit code {ended.returncode}: {said}",
            next_step="Correct what it names and try again, or run `rune daemon run` yourself.",
        )
