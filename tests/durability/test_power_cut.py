"""The power goes while everything writes: `power_cut.py` says how, and what it looks at."""

from __future__ import annotations

import subprocess
import sys

import pytest
from run_script import run


def test_a_power_cut_loses_nothing_that_was_acknowledged() -> None:
    private = ["unshare", "--mount"]
    if sys.platform != "linux" or subprocess.run([*private, "true"], check=False).returncode:
        pytest.skip("a disk of our own needs root and a private mount namespace")
    report = run("power_cut.py", "--cuts", "1", inside=private)
    if reason := report.get("unavailable"):
        pytest.skip(reason)
    assert {name.split("-")[1] for name in report} == {"LOGFLUSH", "NOLOGFLUSH"}
    for kind in ("trajectories", "adapters", "archives", "jobs", "distillations"):
        assert sum(cut[kind] for cut in report.values()) > 0, f"no {kind} before the power went"
