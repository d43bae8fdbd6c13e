"""How alike adapters' weight updates are, as `evolution` asks for it. Keeps nothing."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from rune_engine.errors import AdapterCorruptedError, AdapterForgottenError, MergeRefusedError
from rune_engine.jobs.merging import Merging
from rune_engine.registry import AdapterRegistry


class Similarities:
    """Compares adapters by a trainer's subprocess, in a folder below `scratch` that goes again."""

    def __init__(self, registry: AdapterRegistry, merging: Merging, scratch: Path) -> None:
        self._registry = registry
        self._merging = merging
        self._scratch = scratch

    async def __call__(self, adapter_ids: Sequence[str]) -> dict[frozenset[str], float]:
        """The cosine of each pair's updates; nothing where they cannot be compared at all.

        Raises:
            TrainingError: the comparison itself failed.
        """
        folder = self._scratch / f"compare-{uuid.uuid4().hex}"
        try:
            adapters = [
                await asyncio.to_thread(self._registry.retrieve_by_id, each) for each in adapter_ids
            ]
            found = await self._merging.compare(folder.name, adapters, folder)
        except (MergeRefusedError, AdapterForgottenError, AdapterCorruptedError):
            return {}
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return {
            frozenset((adapter_ids[i], adapter_ids[j])): found.cosines[i][j]
            for i, j in combinations(range(len(adapter_ids)), 2)
        }
