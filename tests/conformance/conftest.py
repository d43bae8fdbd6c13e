"""The programs that judge the server: `make conformance` installs them and says where."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_support import end_engines, scripted_config

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig

REPOSITORY = Path(__file__).resolve().parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where npm has put the programs; skips the test, with the reason, where it has not."""
    folder = os.environ.get("RUNE_CONFORMANCE_TOOLS")
    if folder is None:
        pytest.skip("RUNE_CONFORMANCE_TOOLS is not set: run `make conformance`")
    found = Path(folder).absolute() / "node_modules"
    if not (found / ".bin" / "node").exists():
        pytest.skip(f"{found} has no node: npm, or what it installs, could not be had")
    return found


@pytest.fixture(scope="module")
def config(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuneConfig]:
    """A home with a scripted base model, that the tests of one module share.

    Its engine is there already: the judges have clocks of their own, which a busy machine's
    first start would run out.
    """
    config = scripted_config(tmp_path_factory.mktemp("conformance"), idle_seconds=600.0)
    asyncio.run(_start_engine(config))
    yield config
    end_engines(config)


async def _start_engine(config: RuneConfig) -> None:
    async with EngineClient(config) as engine:
        await engine.health()


@pytest.fixture(scope="module")
def server_environment(config: RuneConfig) -> dict[str, str]:
    """What a server of that home needs, and nothing else of this process's environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(REPOSITORY),
        "RUNE_HOME": str(config.home),
        "RUNE_BASE_MODEL": config.base_model,
        "RUNE_CONSOLIDATION__ENABLED": "false",
    }


@pytest.fixture
def node(node_modules: Path, tmp_path: Path) -> Run:
    """Runs Node's programs with a home of their own."""

    def run(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [node_modules / ".bin" / "node", *arguments],
            cwd=tmp_path,
            env={"PATH": f"{node_modules / '.bin'}:/usr/bin:/bin", "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
