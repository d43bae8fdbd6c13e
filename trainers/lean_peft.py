"""PEFT without bitsandbytes, for whoever has nothing in 4 bits. Imports neither by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rune_engine.extras import hidden


@contextmanager
def without_4_bits() -> Iterator[None]:
    """Let PEFT do without bitsandbytes, which it loads wherever it finds it: a third of a start.

    What PEFT finds meanwhile it does not remember: the next adapter may be one in 4 bits.
    """
    with hidden("bitsandbytes"):
        from peft import import_utils

        yield
    for looked in (import_utils.is_bnb_available, import_utils.is_bnb_4bit_available):
        looked.cache_clear()
