"""`rune forget` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from engine_support import draft
from test_cli import rune

from rune_engine.config import RuneConfig


def recorded(config: RuneConfig, folder: Path, **changes: str) -> None:
    file = folder / "sessions.json"
    file.write_text(json.dumps([draft(n, **changes).model_dump(mode="json") for n in range(2)]))
    assert rune(config, "record", str(file)).returncode == 0


def test_what_depends_on_it_is_shown_first_and_nothing_done(
    config: RuneConfig, tmp_path: Path
) -> None:
    recorded(config, tmp_path)
    shown = rune(config, "forget", "shop", "--dry-run")
    assert shown.returncode == 0 and "To erase of project shop: 2 trajectories" in shown.stdout
    assert "To erase of session session-0: 1" in rune(config, "forget", "session-0").stdout
    assert json.loads(rune(config, "status", "--json").stdout)["trajectories"] == 2


def test_it_is_erased_and_the_proof_shown(config: RuneConfig, tmp_path: Path) -> None:
    recorded(config, tmp_path)
    done = rune(config, "forget", "session-0", "--yes")
    assert done.returncode == 0 and "none is left" in done.stdout
    report = json.loads(rune(config, "forget", "shop", "--json").stdout)
    assert report["done"] and report["proof"]["found_in"] == []
    again = rune(config, "forget", "shop", "--yes")
    assert again.returncode == 1 and "Nothing is stored" in again.stderr


def test_a_name_that_means_two_things_is_asked_about(config: RuneConfig, tmp_path: Path) -> None:
    recorded(config, tmp_path, session_id="shop")
    assert "--project or --session" in rune(config, "forget", "shop", "--yes").stderr
    assert rune(config, "forget", "shop", "--session", "--yes").returncode == 0
