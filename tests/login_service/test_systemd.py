"""The unit that is written, and what systemd is told; systemctl is a stand-in on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import ServiceManagerError
from rune_engine.login_service.service import MARK, login_service
from rune_engine.login_service.systemd import Systemd

STAND_IN = """#!/bin/sh
echo "$@" >> "{calls}"
case "$*" in *"{refused}"*) echo "{said}" >&2; exit 1;; esac
case "$*" in *is-active*) echo active;; esac
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RuneConfig:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    home = tmp_path / 'a home 100% "odd" $HOME'
    home.mkdir()
    return load_config(home=home)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return stand_in(tmp_path, monkeypatch, refused="no call has these words")


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, refused: str, said: str = "") -> Path:
    """A systemctl that refuses some call; the file that it notes its calls in."""
    calls, program = folder / "calls", folder / "bin" / "systemctl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(STAND_IN.format(calls=calls, refused=refused, said=said))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(program.parent), os.environ["PATH"]]))
    return calls


def verbs(calls: Path) -> list[str]:
    return [line.removeprefix("--user --no-pager ").split()[0] for line in calls.open()]


def test_the_unit_runs_this_python_for_this_home(config: RuneConfig) -> None:
    unit = Systemd(config).content().decode()
    assert f'ExecStart="{sys.executable}" "-P" "-m" "rune_engine.service" "--stay"' in unit
    home = str(config.home).replace("%", "%%").replace('"', '\\"')
    assert f'Environment="RUNE_HOME={home}"' in unit
    assert "WantedBy=default.target" in unit and "Restart=always" in unit


def test_systemd_itself_finds_nothing_wrong_with_it(config: RuneConfig, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    service = Systemd(config)
    service.write()
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    checked = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(service.path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    # What it warns of, such as a setting that it does not know, does not change its exit code.
    warnings = [line for line in checked.stderr.splitlines() if service.unit in line]
    assert (checked.returncode, warnings) == (0, [])


def test_installing_writes_the_unit_and_starts_it(config: RuneConfig, calls: Path) -> None:
    service = login_service(config)
    assert isinstance(service, Systemd) and not service.installed
    said = service.install()
    assert service.installed and service.state() == "active"
    assert any(str(service.path) in line for line in said)
    assert verbs(calls)[:4] == ["show-environment", "daemon-reload", "enable", "restart"]


def test_uninstalling_leaves_nothing(config: RuneConfig, calls: Path) -> None:
    service = Systemd(config)
    service.install()
    service.uninstall()
    assert not service.path.exists() and not list(service.path.parent.iterdir())
    assert f"disable --now {service.unit}" in calls.read_text()
    assert "Nothing was installed" in service.uninstall()[0]


def test_two_homes_have_two_units(config: RuneConfig, tmp_path: Path) -> None:
    other = Systemd(load_config(home=tmp_path / "other"))
    assert Systemd(config).unit != other.unit
    usual = Systemd(load_config(home=Path.home() / ".rune"))
    assert usual.unit == "rune-engine.service"


def test_without_a_session_bus_it_says_what_to_do(
    config: RuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "show-environment", "Failed to connect to bus")
    with pytest.raises(ServiceManagerError, match="Failed to connect to bus") as refused:
        Systemd(config).install()
    assert "enable-linger" in refused.value.next_step
    assert "rune daemon run" in refused.value.next_step
    assert not Systemd(config).path.exists()


def test_what_cannot_be_enabled_is_not_left_half_installed(
    config: RuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "restart", "Unit is masked.")
    with pytest.raises(ServiceManagerError, match="masked"):
        Systemd(config).install()
    assert not Systemd(config).path.exists()


def test_a_unit_of_somebody_elses_stays(config: RuneConfig, calls: Path) -> None:
    service = Systemd(config)
    service.path.parent.mkdir(parents=True)
    service.path.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(ServiceManagerError, match="not written by Rune"):
        service.install()
    service.uninstall()
    assert MARK not in service.path.read_text()


def test_without_a_service_manager_it_says_what_to_do(
    config: RuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ServiceManagerError) as refused:
        login_service(config)
    assert "rune daemon run" in refused.value.next_step
