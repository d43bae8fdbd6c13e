"""The agent that is written for launchd, and what launchctl is told; it is a stand-in here."""

from __future__ import annotations

import os
import plistlib
import sys
from pathlib import Path

import pytest

from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import ServiceManagerError
from rune_engine.login_service.launchd import Launchd
from rune_engine.login_service.service import login_service

STAND_IN = """#!/bin/sh
echo "$1" >> "{folder}/calls"
case "$1" in
print) test -e "{folder}/loaded";;
bootstrap) test "{refuses}" = no && touch "{folder}/loaded";;
bootout) rm "{folder}/loaded";;
esac
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RuneConfig:
    monkeypatch.setenv("HOME", str(tmp_path))
    stand_in(tmp_path, monkeypatch)
    return load_config(home=tmp_path / "home & more")


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, refuses: str = "no") -> None:
    program = folder / "bin" / "launchctl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(STAND_IN.format(folder=folder, refuses=refuses))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(program.parent), os.environ["PATH"]]))


def test_the_agent_runs_this_python_for_this_home(config: RuneConfig) -> None:
    agent = plistlib.loads(Launchd(config).content())
    command = [sys.executable, "-P", "-m", "rune_engine.service", "--stay"]
    assert agent["ProgramArguments"] == command
    assert agent["EnvironmentVariables"]["RUNE_HOME"] == str(config.home)
    assert agent["RunAtLoad"] is True and agent["KeepAlive"] is True
    assert agent["Label"] + ".plist" == Launchd(config).path.name


def test_it_is_installed_replaced_and_removed(config: RuneConfig, tmp_path: Path) -> None:
    agent = Launchd(config)
    agent.install()
    assert agent.installed and agent.state() == "active"
    agent.install()
    agent.uninstall()
    assert not agent.path.exists() and agent.state() == "inactive"
    calls = (tmp_path / "calls").read_text().split()
    assert calls.count("bootstrap") == calls.count("bootout") == 2


def test_what_cannot_be_loaded_is_not_left_half_installed(
    config: RuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, refuses="yes")
    with pytest.raises(ServiceManagerError, match="bootstrap"):
        Launchd(config).install()
    assert not Launchd(config).path.exists()


def test_macos_gets_an_agent(config: RuneConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(login_service(config), Launchd)
