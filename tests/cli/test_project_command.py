"""`rune project`: a folder is its repository, and its recording can be turned off."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from engine_support import base_model_folder, draft
from test_cli import rune

from rune_engine.config import RuneConfig
from rune_engine.models import ProjectState

SHOP = "github.com/acme/shop"


def checkout(folder: Path) -> Path:
    folder.mkdir()
    for arguments in (["init", "-q"], ["remote", "add", "origin", f"git@{SHOP}.git"]):
        arguments = [argument.replace("github.com/", "github.com:") for argument in arguments]
        subprocess.run(["git", "-C", str(folder), *arguments], check=True, timeout=60)
    return folder


def state_of(config: RuneConfig, *arguments: str) -> ProjectState:
    shown = rune(config, "project", *arguments, "--json")
    assert shown.returncode == 0, shown.stderr
    return ProjectState.model_validate(json.loads(shown.stdout))


def test_a_folder_is_shown_as_its_repository_and_can_be_turned_off(
    config: RuneConfig, tmp_path: Path
) -> None:
    folder = checkout(tmp_path / "some folder")
    shown = rune(config, "project", str(folder))
    assert SHOP in shown.stdout and str(folder) in shown.stdout
    file = tmp_path / "session.json"
    file.write_text(json.dumps(draft(1, project_id=SHOP).model_dump(mode="json")))
    assert rune(config, "record", str(file)).returncode == 0
    assert state_of(config, str(folder)).trajectories == 1

    assert state_of(config, "off", str(folder)).recorded is False
    assert state_of(config, SHOP).recorded is False
    refused = rune(config, "record", str(file))
    assert refused.returncode == 1 and "turned off" in refused.stderr
    distill = rune(config, "distill", str(folder), "--base-model", str(base_model_folder(tmp_path)))
    assert distill.returncode == 1 and SHOP in distill.stderr
    assert state_of(config, "on", SHOP).recorded is True


def test_the_current_folder_is_the_project_when_none_is_named(config: RuneConfig) -> None:
    shown = state_of(config)
    assert shown.project_id
    refused = rune(config, "project", "/no/such/folder")
    assert refused.returncode == 1 and "no folder" in refused.stderr
