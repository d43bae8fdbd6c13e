"""`rune capture`: import, status, allow and forbid, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from session_files import aider, claude_code, openhands

from rune_engine.config import RuneConfig
from rune_engine.models import CaptureReport, CaptureStatus


def rune(config: RuneConfig, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rune_engine.cli.main", "capture", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "RUNE_HOME": str(config.home), "COLUMNS": "200"},
        check=False,
    )


def test_a_folder_is_imported_and_what_cannot_be_read_costs_no_other(
    config: RuneConfig, tmp_path: Path
) -> None:
    below = tmp_path / "sessions"
    claude_code(below)
    openhands(below)
    aider(below)
    (below / "notes.md").write_text("nothing")
    dry = rune(config, "import", str(below), "--agent", "openhands", "--dry-run", "--json")
    report = CaptureReport.model_validate(json.loads(dry.stdout))
    assert [task.status for task in report.tasks] == ["new"]
    imported = rune(config, "import", str(below))
    # Claude Code's and OpenHands' session are the same trajectory of the same project.
    assert "3 files: 1 known, 2 stored" in imported.stdout
    refused = rune(config, "import", str(below / "notes.md"))
    assert refused.returncode == 1 and "no session file that is known" in refused.stderr


def test_a_source_is_allowed_and_forbidden_and_the_status_shows_it(
    config: RuneConfig, tmp_path: Path
) -> None:
    found = rune(config, "allow", "codex", "--json")
    status = CaptureStatus.model_validate(json.loads(found.stdout))
    assert {s.source: s.state for s in status.sources}["codex"] == "allowed"
    path = claude_code(tmp_path)
    assert "in quarantine until you allow it" in rune(config, "forbid", "claude-code").stdout
    refused = rune(config, "import", str(path))
    assert refused.returncode == 1 and "rune capture allow claude-code" in refused.stderr
