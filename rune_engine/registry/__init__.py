"""S1: adapters. Metadata in SQL, weights write-once on disk; no torch, no GPU."""

from __future__ import annotations

from rune_engine.registry.records import AdapterDraft, AdapterFilter, AdapterRecord
from rune_engine.registry.registry import AdapterCounts, AdapterRegistry
from rune_engine.registry.weights import AdapterWeights

__all__ = [
    "AdapterCounts",
    "AdapterDraft",
    "AdapterFilter",
    "AdapterRecord",
    "AdapterRegistry",
    "AdapterWeights",
]
