"""`rune model list`, `use` and `info` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from adapter_files import draft, weights
from hub_support import MODEL, SECONDS, Hub

from rune_engine.config import RuneConfig, load_config
from rune_engine.database import open_database
from rune_engine.registry import AdapterRegistry


def test_the_list_says_what_fits_and_recommends(hub: Hub, tiny: Path) -> None:
    hub.pull(MODEL)
    shown = hub.rune("list", "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    rows = {row["name"]: row for row in found["models"]}
    assert len(rows) == 1 + 4 * 3 + 1
    assert rows["rune-nano"]["used"] and rows[MODEL]["here"]
    seven = rows["qwen2.5-coder-7b"]
    assert seven["verdict"]["needed_bytes"] > 15e9 and not seven["here"]
    assert seven["verdict"]["fit"] in ("fits", "tight", "too large")
    assert rows["qwen2.5-coder-3b"]["licence"] == "qwen-research"
    recommended = [name for name, row in rows.items() if row["recommended"]]
    assert all(rows[name]["verdict"]["fit"] == "fits" for name in recommended)


def test_a_model_that_is_used_is_the_one_in_the_settings(hub: Hub, tiny: Path) -> None:
    not_here = hub.rune("use", MODEL)
    assert not_here.returncode == 1 and f"`rune model pull {MODEL}`" in not_here.stderr
    hub.pull(MODEL)
    settings = hub.home / "config.toml"
    settings.write_text('[serving]\nbackend = "llama"  # quick\n')
    assert hub.rune("use", MODEL).returncode == 0
    config = load_config(home=hub.home, **tomllib.loads(settings.read_text()))
    assert (config.base_model, config.serving.backend) == (MODEL, "llama")
    assert "# quick" in settings.read_text()
    winning = hub.rune("use", "rune-nano", RUNE_BASE_MODEL=MODEL)
    assert "RUNE_BASE_MODEL is set and wins" in winning.stderr


def test_info_tells_the_shape_the_licence_and_the_adapters(hub: Hub) -> None:
    three = json.loads(hub.rune("info", "qwen2.5-coder-3b", "--json").stdout)
    assert three["parameters"] == 3_085_938_688 and three["path"] is None
    assert "research and evaluation only" in three["licence_note"]
    assert "not been tested" in three["distillation_note"]
    config = load_config(home=hub.home)
    stored = _store_adapter(config)
    nano = json.loads(hub.rune("info", "rune-nano", "--json", RUNE_IDLE_SECONDS="5").stdout)
    assert nano["adapters"] == [stored]
    assert nano["shape"]["layers"] == 6
    stop = [sys.executable, "-m", "rune_engine.cli.main", "engine", "stop"]
    subprocess.run(stop, env=hub.environment(), check=True, timeout=SECONDS)


def _store_adapter(config: RuneConfig) -> str:
    database = open_database(config)
    try:
        made_for = draft(id="nano-one", project_id="shop", base_model_id="rune-nano-1.0")
        return AdapterRegistry(database, config).store(made_for, weights()).id
    finally:
        database.close()
