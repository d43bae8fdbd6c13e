"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from rune_engine.config import RuneConfig, load_config


@pytest.fixture
def config(tmp_path: Path) -> RuneConfig:
    """A configuration whose home is a folder of this test alone."""
    return load_config(home=tmp_path / "home")
