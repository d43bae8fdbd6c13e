"""The programs that judge the plugins: `make test-plugins` installs them and says where."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.facts import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Finds a program's path; skips the test, with the reason, where it is not."""

    def find(name: str) -> str:
        folder = os.environ.get("RUNE_PLUGIN_TOOLS")
        if folder is None:
            pytest.skip("RUNE_PLUGIN_TOOLS is not set: run `make test-plugins`")
        for place in ("node_modules/.bin", "venv/bin"):
            if (path := Path(folder, place, name)).exists():
                return str(path.absolute())
        pytest.skip(f"{name} is not in {folder}: npm or its packages could not be had")

    return find


@pytest.fixture(scope="session")
def wheel(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rune's wheel, built from this folder."""
    out = tmp_path_factory.mktemp("wheel")
    command = [tool("uv"), "build", "--quiet", "--wheel", "--out-dir", str(out), str(ROOT)]
    subprocess.run(command, check=True, timeout=600)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture
def claude(tool: Callable[[str], str], tmp_path: Path) -> Run:
    """Claude Code in a home of its own, signed in nowhere, with Rune's scripts on its PATH."""
    program = tool("claude")
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "RUNE_HOME": str(home / "memory"),
        "RUNE_CONSOLIDATION__ENABLED": "false",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",  # nobody listens there
    }

    def run(
        *arguments: str, command: str = program, cwd: Path = home, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments],
            cwd=cwd,
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run
