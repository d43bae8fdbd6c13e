"""No space is left for trajectories and jobs; `tests/registry` has the same for adapters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from run_script import run


def test_a_full_disk_is_said_and_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    if sys.platform != "linux" or subprocess.run([*private, "true"], check=False).returncode:
        pytest.skip("private mount namespaces are not permitted here")
    assert run("full_disk.py", str(tmp_path), inside=private)["recorded"] > 10
