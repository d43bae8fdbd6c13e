"""The MCP project's own conformance suite, over HTTP, against Rune's server with its fixtures.

What fails must stand in `expected_failures.REVISION.yml` with a reason, and what stands there must
fail: an entry that has come to pass is an error, too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance_serving import serving

Run = Callable[..., subprocess.CompletedProcess[str]]
HERE = Path(__file__).parent
REVISIONS = ["2025-11-25", "2026-07-28"]
ENTRY = re.compile(r"  - (?P<scenario>\S+)  # (?P<reason>\S.*)")
FOLDER = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


@pytest.fixture(scope="module")
def url(server_environment: dict[str, str]) -> Iterator[str]:
    """The address of the server with the suite's fixtures."""
    command = [sys.executable, str(HERE / "conformance_server.py")]
    with serving(command, server_environment) as address:
        yield address


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_scenario_passes_but_those_with_a_reason(
    revision: str, url: str, node: Run, node_modules: Path, tmp_path: Path
) -> None:
    suite = node_modules / ".bin" / "conformance"
    chosen = ("--requirements", revision)
    listed = node(suite, "list", "--server", *chosen).stdout
    patient = ("--timeout", "100000", "-o", tmp_path / "out")
    run = node(suite, "server", "--url", url, *chosen, *patient, timeout=280)
    failures = _failures(tmp_path / "out")
    assert failures.keys() >= _required(listed), run.stdout + run.stderr
    failed = {scenario: found for scenario, found in failures.items() if found}
    expected = _expected(revision)
    unexpected = {name: found for name, found in failed.items() if name not in expected}
    assert not unexpected, json.dumps(unexpected, indent=2)
    passed = sorted(expected - failed.keys())
    assert not passed, f"these pass now, take them out of the list: {passed}"


def _required(listed: str) -> set[str]:
    """The server scenarios by which a revision is scored."""
    names = set(re.findall(r"^  - (\S+)", listed.split("Client scenarios")[0], re.MULTILINE))
    assert len(names) >= 30, listed
    return names


def _failures(out: Path) -> dict[str, list[str]]:
    """By scenario that ran, its failed checks."""
    return {
        _scenario(file.parent.name): [
            f"{check['id']}: {check.get('errorMessage')}"
            for check in json.loads(file.read_text(encoding="utf-8"))
            if check["status"] == "FAILURE"
        ]
        for file in out.glob("*/checks.json")
    }


def _scenario(folder: str) -> str:
    found = FOLDER.fullmatch(folder)
    assert found is not None, folder
    return found["scenario"]


def _expected(revision: str) -> set[str]:
    text = (HERE / f"expected_failures.{revision}.yml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    entries = [ENTRY.fullmatch(line) for line in lines]
    assert all(entries), "every entry has a reason"
    return {entry["scenario"] for entry in entries if entry is not None}
