"""A project as another user than the suite's: root runs it once more as nobody.

The interpreter that nobody uses has pytest and no plugin, so this is where async tests run without.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
NEEDED = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root becomes another user"
)

PROJECTS = """
import asyncio, json, os, sys
from pathlib import Path
from rune_engine.sandbox import Sandbox

SHOP = {"shop/cart.py": "from shop.prices import PRICES\\ndef total(n): return PRICES[n] * 2\\n"}
TESTS = {"test_cart.py": '''
import os, subprocess, sys

def test_total(tmp_path):
    from shop.cart import total
    (tmp_path / "a").write_text("x")
    assert total("pen") == 4

def test_programs():
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getuid())"],
                          capture_output=True, text=True)
    assert done.stdout.strip() == str(os.getuid()) != "0"

async def test_later(tmp_path):
    import asyncio
    from shop.cart import total
    await asyncio.sleep(0)
    assert total("pen") == 4
'''}
NEEDS_A_PLUGIN = {**TESTS, "conftest.py": '''
import pytest

@pytest.fixture
async def pen():
    return "pen"
'''}
WRONG = {"shop/cart.py": "def total(n): return 5\\n"}
FILLS = {"shop/cart.py": '''
import os, time
for _ in range(8):
    if os.fork() == 0:
        block = bytearray(150 * 2**20)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(20)
        os._exit(0)
time.sleep(20)
'''}

async def main():
    sandbox, workspace = Sandbox(), Path(sys.argv[1])
    runs = ((SHOP, TESTS), (WRONG, TESTS), (FILLS, TESTS), (SHOP, NEEDS_A_PLUGIN))
    for files, tests in runs:
        verdict = await sandbox.run_project(files, tests, workspace=workspace, confirm=True)
        print(json.dumps([verdict.kind, getattr(verdict, "message", ""), verdict.evidence.tier]))

asyncio.run(main())
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, with an interpreter that has pytest, and a workspace."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        interpreter = folder / "venv"
        made = subprocess.run([PYTHON, "-m", "venv", "--without-pip", interpreter], check=False)
        if made.returncode:
            pytest.skip(f"{PYTHON} cannot make a virtual environment")
        [packages] = (interpreter / "lib").glob("python*/site-packages")
        for name in NEEDED:
            _copy_distribution(name, packages)
        (folder / "home").mkdir()
        os.chown(folder / "home", 65534, 65534)
        (folder / "workspace/shop").mkdir(parents=True)
        (folder / "workspace/shop/prices.py").write_text("PRICES = {'pen': 2}\n")
        yield folder
    finally:
        shutil.rmtree(folder)


def _copy_distribution(name: str, target: Path) -> None:
    for file in metadata.files(name) or ():
        if file.suffix in (".py", ".txt") and ".." not in file.parts:
            copy = target / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), copy)


def _as_nobody(place: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), *(each for each in sys.path if "site-packages" in each)])
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place / "home"), "PYTHONPATH": path}
    return subprocess.run(
        [*NOBODY, str(place / "venv/bin/python"), "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
        timeout=120,
        check=False,
    )


@pytest.mark.timeout(180)
def test_a_project_is_judged_as_a_user_without_privileges(place: Path) -> None:
    ready = "from rune_engine.sandbox import Sandbox"
    tried = _as_nobody(place, ready)
    if tried.returncode:
        pytest.skip(f"nobody cannot run Rune with {PYTHON}: {tried.stderr[-200:]}")
    if subprocess.run([*NOBODY, "unshare", "-Ur", "true"], check=False).returncode:
        pytest.skip("this machine gives a user no namespaces")
    result = _as_nobody(place, PROJECTS, str(place / "workspace"))
    assert result.returncode == 0, result
    told: list[list[Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert [kind for kind, _, _ in told] == ["pass", "fail", "resource_exceeded", "infra"], told
    assert "pytest-asyncio" in told[3][1]
    assert all("namespaces" in tier for _, _, tier in told)
    assert list((place / "home").iterdir()) == []
