"""The words of a task's text, as search compares them: lower case, identifiers whole and in parts.

Knows no table, and nothing of what the words are compared for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_LONGEST_TEXT = 20_000
_LONGEST_WORD = 64
_RUNS = re.compile(r"\w+")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")


def words_of(text: str) -> set[str]:
    """The words of a text (of its first 20,000 characters), numbers left out.

    `parse_invoice` is "parse_invoice", "parse" and "invoice"; so is `parseInvoice`, written small.
    """
    found: set[str] = set()
    for run in _RUNS.findall(text[:_LONGEST_TEXT]):
        whole = run.strip("_")
        if not whole or whole.isdigit() or len(whole) > _LONGEST_WORD:
            continue
        found.add(whole.lower())
        if not (whole.isalpha() and (whole.islower() or whole[1:].islower())):
            found.update(part.lower() for part in _PARTS.findall(whole) if len(part) > 1)
    return found


def count_words(texts: Iterable[str]) -> Counter[str]:
    """In how many of the texts each word occurs."""
    return Counter(word for text in texts for word in words_of(text))
