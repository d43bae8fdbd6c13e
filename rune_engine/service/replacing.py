"""How an engine that stays takes the place of one that was started on demand."""

from __future__ import annotations

import asyncio
import time

import rune_engine
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.errors import EngineUnavailableError
from rune_engine.home import try_lock
from rune_engine.models import EngineHealth

_RETRY_SECONDS = 2.0


def replace_engine(config: RuneConfig, lock: int) -> bool:
    """Ask the running engine to stop once it has nothing to do, and take its lock. Blocks.

    Returns:
        False when an engine that stays runs already.

    Raises:
        EngineUnavailableError: the running engine is of another version; to replace each other
            in turn would help nobody.
    """
    while not try_lock(lock):
        health = asyncio.run(_running(config))
        if health is not None and health.stays:
            return False
        if health is None or health.busy:
            time.sleep(_RETRY_SECONDS)
            continue
        if health.version != rune_engine.__version__:
            raise EngineUnavailableError(
                f"An engine of version {health.version} runs in {config.home}; this is version "
                f"{rune_engine.__version__}.",
                next_step="Run `rune daemon install` again, with the Rune that you use.",
            )
        asyncio.run(_stop(config))
    return True


async def _running(config: RuneConfig) -> EngineHealth | None:
    async with EngineClient(config) as client:
        return await client.running()


async def _stop(config: RuneConfig) -> None:
    async with EngineClient(config) as client:
        await client.stop()
