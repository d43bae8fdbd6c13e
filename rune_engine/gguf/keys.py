"""The keys that Rune adds to GGUF files, by which it knows them again. Knows nothing else."""

from __future__ import annotations

from base_models.gguf_header import BASE_MODEL_ID

__all__ = ["ADAPTER_ID", "ADAPTER_SHA256", "BASE_MODEL_ID", "STOP_IDS", "TENSORS_SHA256"]

ADAPTER_ID = "rune.adapter.id"
ADAPTER_SHA256 = "rune.adapter.sha256"
"""Of the PEFT weights that an adapter was made of."""
TENSORS_SHA256 = "rune.tensors.sha256"
"""Of the file's tensors, in their order, without padding."""
STOP_IDS = "rune.stop_token_ids"
"""Every token that ends an answer; the standard keys hold one or two."""
