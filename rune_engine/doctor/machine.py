"""Examines the machine: whether Rune can work here, and what is missing. Starts no engine."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import stat
import sys
from pathlib import Path

import rune_engine
from base_models import hypernetworks
from base_models.hypernetworks import DamagedHypernetworkError, ForeignHypernetworkError
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.errors import (
    BaseModelCorruptedError,
    BaseModelNotFoundError,
    MissingExtraError,
    RuneError,
    SandboxUnavailableError,
)
from rune_engine.extras import require
from rune_engine.file_systems import file_system_of, is_network
from rune_engine.model_store.resolve import Script, resolve
from rune_engine.models.probing import Check
from rune_engine.sandbox.sandbox import Sandbox

_OLDEST_PYTHON = (3, 11)
_OLDEST_SQLITE = (3, 37)
_LITTLE_SPACE = 2 * 1024**3
_NO_SPACE = 200 * 1024**2


async def look_at(config: RuneConfig) -> list[Check]:
    """Every quick look, in an order in which what is wrong can be mended."""
    return [
        _python(),
        _sqlite(),
        _home(config),
        _file_system(config),
        _space(config),
        _extra(),
        _base_model(config),
        await _sandbox(config),
        await _engine(config),
    ]


def _python() -> Check:
    detail = f"Python {platform.python_version()} on {platform.platform()}, Rune "
    detail += rune_engine.__version__
    if sys.version_info < _OLDEST_PYTHON or sys.platform == "win32":
        step = "Use Python 3.11 or newer; on Windows, inside WSL2."
        return Check(name="python", status="problem", detail=detail, next_step=step)
    return Check(name="python", status="good", detail=detail)


def _sqlite() -> Check:
    detail = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        step = "Use a Python whose SQLite is 3.37 or newer: older ones know no strict tables."
        return Check(name="sqlite", status="problem", detail=detail, next_step=step)
    return Check(name="sqlite", status="good", detail=detail)


def _home(config: RuneConfig) -> Check:
    home = config.home
    if not home.exists():
        parent = _existing(home)
        if os.access(parent, os.W_OK | os.X_OK):
            return Check(name="home", status="good", detail=f"{home} is made when it is needed")
        detail, step = f"{home} cannot be made", f"Make {parent} writable, or set RUNE_HOME."
        return Check(name="home", status="problem", detail=detail, next_step=step)
    status = home.lstat()
    mode = stat.filemode(status.st_mode)
    if not home.is_dir() or not os.access(home, os.W_OK | os.X_OK) or status.st_uid != os.getuid():
        detail, step = f"{home} ({mode}) is not a folder of yours", "Correct it, or set RUNE_HOME."
        return Check(name="home", status="problem", detail=detail, next_step=step)
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        step = f"chmod 700 {home}"
        detail = f"{home} is open to other users ({mode})"
        return Check(name="home", status="warning", detail=detail, next_step=step)
    return Check(name="home", status="good", detail=f"{home} is yours alone")


def _file_system(config: RuneConfig) -> Check:
    kind = file_system_of(config.home)
    if is_network(kind):
        step = "Point RUNE_HOME at a folder on a local disk."
        detail = f"{kind}, a network file system: a shared database is damaged on it"
        return Check(name="file system", status="problem", detail=detail, next_step=step)
    return Check(name="file system", status="good", detail=kind or "unknown")


def _space(config: RuneConfig) -> Check:
    free = shutil.disk_usage(_existing(config.home)).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free >= _LITTLE_SPACE:
        return Check(name="disk space", status="good", detail=detail)
    step = "Free some: a distillation needs a few hundred MB, a backup the size of the home."
    status = "problem" if free < _NO_SPACE else "warning"
    return Check(name="disk space", status=status, detail=detail, next_step=step)


def _extra() -> Check:
    try:
        require("torch", "Running and distilling local models")
    except MissingExtraError as error:
        return _warning("torch", error)
    return Check(name="torch", status="good", detail="the extra [torch] is installed")


def _base_model(config: RuneConfig) -> Check:
    try:
        found = resolve(config.base_model, config)
    except (BaseModelNotFoundError, BaseModelCorruptedError) as error:
        return Check(
            name="base model", status="problem", detail=error.message, next_step=error.next_step
        )
    try:
        has_one = not isinstance(found, Script) and hypernetworks.of_base(found.path) is not None
    except (DamagedHypernetworkError, ForeignHypernetworkError) as error:
        step = "Get the base model again; until then distillations take the closed form."
        return Check(name="base model", status="warning", detail=str(error), next_step=step)
    detail = config.base_model + (", with a hypernetwork" if has_one else "")
    return Check(name="base model", status="good", detail=detail)


async def _sandbox(config: RuneConfig) -> Check:
    sandbox = Sandbox(config.sandbox)
    try:
        await sandbox.probe()
    except SandboxUnavailableError as error:
        return _warning("sandbox", error)
    detail = f"{sandbox.describe()}; `rune sandbox check` attacks it"
    return Check(name="sandbox", status="good", detail=detail)


async def _engine(config: RuneConfig) -> Check:
    try:
        async with EngineClient(config) as client:
            health = await client.running()
    except RuneError as error:
        return _warning("engine", error)
    if health is None:
        return Check(name="engine", status="good", detail="not running; it starts when needed")
    detail = f"version {health.version} runs, pid {health.pid}"
    if health.version != rune_engine.__version__:
        step = "Stop it with `rune engine stop`; the next call starts this version."
        return Check(name="engine", status="warning", detail=detail, next_step=step)
    return Check(name="engine", status="good", detail=detail)


def _warning(name: str, error: RuneError) -> Check:
    return Check(name=name, status="warning", detail=error.message, next_step=error.next_step)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
