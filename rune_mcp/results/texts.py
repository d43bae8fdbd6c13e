"""Long texts, cut in the middle so that both ends stay."""

from __future__ import annotations


def cut(text: str, most: int) -> str:
    """`text` with what is over `most` characters left out of its middle, which says so."""
    if len(text) <= most:
        return text
    half = most // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n... {left_out} characters left out ...\n{text[-half:]}"
