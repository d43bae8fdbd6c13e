"""An open registry on a home of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.registry import AdapterRegistry


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


@pytest.fixture
def registry(database: Database, config: RuneConfig) -> AdapterRegistry:
    return AdapterRegistry(database, config)
