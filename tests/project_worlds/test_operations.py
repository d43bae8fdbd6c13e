"""Operations: phrases that mean one thing, expressions that give what they say."""

from __future__ import annotations

import ast
import math
from typing import Any

import pytest

from project_worlds.operations import BY_KEY, OPERATIONS, Operation

NUMBERS = range(2, 10)
SAMPLES: dict[str, list[Any]] = {
    "numbers": [[3, -4, 0, 6, 6, -1, 5, 2], [7], [0, 0]],
    "words": [["pear", "Apple", "fig", "pear", "ox"], ["a"], ["", "tree"]],
    "text": ["  Two pears, 3 figs ", "x", " "],
    "table": [{"pear": 3, "fig": 0, "apple": -2, "plum": 12}, {"ox": 1}],
}

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.key)


def _is(value: Any, kind: str) -> bool:
    if kind == "number":
        return type(value) in (int, float)
    if kind == "text":
        return type(value) is str
    if kind == "table":
        return type(value) is dict and all(
            type(name) is str and type(number) is int for name, number in value.items()
        )
    of = (int, float) if kind == "numbers" else (str,)
    return type(value) is list and all(type(item) in of for item in value)


def _names(operation: Operation) -> list[str]:
    tree = ast.parse(operation.plain, mode="eval")
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]


def test_keys_are_unique() -> None:
    assert len(BY_KEY) == len(OPERATIONS)
    assert all(BY_KEY[operation.key] is operation for operation in OPERATIONS)


def test_no_phrase_asks_for_two_operations() -> None:
    phrases = [phrase.lower() for operation in OPERATIONS for phrase in operation.phrases]
    assert len(phrases) == len(set(phrases))


@every_operation
def test_phrases_are_eight_short_ones_that_can_be_joined(operation: Operation) -> None:
    assert len(operation.wordings) == 7
    assert operation.phrases == (operation.title, *operation.wordings)
    for phrase in operation.phrases:
        assert 2 <= len(phrase.split()) <= 8
        assert phrase == " ".join(phrase.split())
        assert not {",", ";", "."} & set(phrase)
        assert not {"and", "then"} & set(phrase.split())


@every_operation
def test_a_number_stands_once_in_every_phrase_or_in_none(operation: Operation) -> None:
    once = 1 if operation.has_number else 0
    for phrase in operation.phrases:
        assert phrase.split().count("{n}") == phrase.count("{") == phrase.count("}") == once
    assert ("n" in _names(operation)) == operation.has_number


@every_operation
def test_an_expression_is_one_short_line_over_whole_names(operation: Operation) -> None:
    assert len(operation.plain) <= 60
    assert operation.plain.isprintable()
    names = _names(operation)
    bound = [
        node.id
        for node in ast.walk(ast.parse(operation.plain, mode="eval"))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    assert "xs" in names
    assert not {"xs", "n"} & set(bound)


@every_operation
def test_an_expression_gives_what_it_says_and_keeps_its_input(operation: Operation) -> None:
    for sample in SAMPLES[operation.takes]:
        before = repr(sample)
        for n in NUMBERS if operation.has_number else (0,):
            value = eval(operation.plain, {"math": math, "xs": sample, "n": n})
            assert _is(value, operation.gives), (sample, value)
            assert repr(sample) == before
