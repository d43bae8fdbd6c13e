"""`rune sandbox`, as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rune_engine.sandbox.conformance.manifest import REQUIREMENTS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tier that is tested")


def _rune(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join([str(ROOT), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "rune_engine.cli.main", "sandbox", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": search, "RUNE_HOME": str(home), "COLUMNS": "160"},
        check=False,
    )


def test_check_prints_what_held_by_id(tmp_path: Path) -> None:
    result = _rune("check", "--only", "n1,F4,X2,X20", home=tmp_path)
    assert result.returncode == 0, result
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert all(lines[id].rstrip().endswith("held") for id in ("N1", "F4", "X2"))
    assert lines["X20"].rstrip().endswith("not applicable")
    assert not {requirement.id for requirement in REQUIREMENTS} & set(lines) - {
        "N1",
        "F4",
        "X2",
        "X20",
    }


def test_check_prints_one_json_object_for_programs(tmp_path: Path) -> None:
    result = _rune("check", "--only", "F4,X1", "--json", home=tmp_path)
    assert result.returncode == 0, result
    told = json.loads(result.stdout)
    assert told["tier"].startswith("linux") and told["attacks"] > 2
    assert told["escaped"] == told["forged"] == []
    assert "limits" in told


def test_check_knows_its_attacks(tmp_path: Path) -> None:
    result = _rune("check", "--only", "N1,Z9", home=tmp_path)
    assert result.returncode == 1
    assert "Z9" in result.stderr and "N1" not in result.stderr.split("Z9")[0]


@pytest.mark.parametrize(("body", "code", "said"), [("a + b", 0, "pass"), ("a - b", 1, "fail")])
def test_run_tells_the_verdict(body: str, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(f"def add(a, b):\n    return {body}\n")
    (tmp_path / "tests.py").write_text("assert add(1, 2) == 3\n")
    files = (str(tmp_path / "solution.py"), "--tests", str(tmp_path / "tests.py"))
    result = _rune("run", *files, home=tmp_path)
    assert (result.returncode, result.stdout.strip()) == (code, said), result


def test_run_shows_nothing_that_a_terminal_would_obey(tmp_path: Path) -> None:
    escapes = "\\x1b]0;title\\x07\\x1b[2J\\x9b31m\\rhello"
    (tmp_path / "solution.py").write_text(f"print('{escapes}')\nraise ValueError('{escapes}')\n")
    (tmp_path / "tests.py").write_text("assert add(1, 2) == 3\n")
    files = (str(tmp_path / "solution.py"), "--tests", str(tmp_path / "tests.py"))
    result = _rune("run", *files, home=tmp_path)
    assert result.returncode == 1
    shown = result.stdout + result.stderr
    assert "hello" in shown and "title" in shown
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\r"}
