"""The key that clients of the OpenAI-compatible endpoint show. Knows nothing of HTTP."""

from __future__ import annotations

from rune_engine.config import RuneConfig
from rune_engine.secret_file import own_secret


def api_key(config: RuneConfig) -> str:
    """The key of this home; every process that asks gets the same one.

    Raises:
        HomeNotWritableError: it cannot be written, or others could read it.
        DiskFullError: no space is left for it.
    """
    return own_secret(config.openai_key_path)
