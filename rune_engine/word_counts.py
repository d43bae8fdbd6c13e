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
_FUNCTION_WORDS = """
a about after again all also an and any are as at be because been before being between both but by
can could did do does during each either else every few first for from had has have having he her
here him his how i if in into is it its itself just last like may me more most much must my neither
next no nor not now of off on once only onto or other our out over own please same she should so
some such than that the their them then there these they this those through to too under until up
upon us very was we were what when where whether which while who whose why will with within without
would yet you your
"""
_SAY_NOTHING = frozenset(_FUNCTION_WORDS.split())
"""English words that say nothing of what a task is about. In a home of few projects one of them may
be in a single project's tasks, and would look like its mark."""
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")


def words_of(text: str) -> set[str]:
    """The words of a text (of its first 20,000 characters), without numbers and function words.

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
    return found - _SAY_NOTHING


def count_words(texts: Iterable[str]) -> Counter[str]:
    """In how many of the texts each word occurs."""
    return Counter(word for text in texts for word in words_of(text))
