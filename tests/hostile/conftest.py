"""One home for all hostile calls of a module, and a way to call from tests that do not wait."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

import house as houses
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from house import Home, Visitor

from rune_engine.starter import start_engine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hostile")
        with houses.watched_home(folder, patch.setenv) as (config, outside, writes):
            known = houses.furnish(config, outside)
            start_engine(config, seconds=houses.WAIT_SECONDS)
            yield Home(config, outside, known, writes, houses.state_of(outside))


@pytest.fixture(scope="module")
def visitor(home: Home) -> Iterator[Visitor]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(houses.in_memory(home.config)) as client,
    ):
        house = houses.House(home.config, home.outside, client)
        yield Visitor(house, lambda work: _await(portal, work))


def _await(portal: BlockingPortal, work: Coroutine[Any, Any, Any]) -> Any:
    async def done() -> Any:
        return await work

    return portal.call(done)
