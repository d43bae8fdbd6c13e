"""A database of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()
