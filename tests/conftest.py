"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rune_engine.config import RuneConfig, load_config

# Read by torch as it loads, here and in the processes that tests start: threads that spin beside
# another worker's take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

LONG = ("test_hostile_calls.py", "test_kills.py", "test_conformance.py")
"""Files with tests that take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes first, so that no worker has it left when the others are done."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture
def config(tmp_path: Path) -> RuneConfig:
    """A configuration whose home is a folder of this test alone."""
    return load_config(home=tmp_path / "home")
