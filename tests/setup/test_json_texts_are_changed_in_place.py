"""A JSON text gets or loses one member, and every other character of it stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rune_engine.setup import jsonc
from rune_engine.setup.json_tree import JsoncError

ENTRY = {"command": "/opt/rune-mcp", "args": []}


def test_a_member_is_added_behind_the_last_one_and_its_comment() -> None:
    text = '{\n\t// mine\n\t"a": 1, // one\n\t"b": [2] /* two */\n\t// the end\n}\n'
    assert jsonc.put(text, ("c",), {"d": True}) == (
        '{\n\t// mine\n\t"a": 1, // one\n\t"b": [2], /* two */\n'
        '\t"c": {\n\t\t"d": true\n\t}\n\t// the end\n}\n'
    )


def test_objects_on_the_way_are_made_in_the_text_s_own_style() -> None:
    text = '{\r\n    "theme": "dark",\r\n}'
    assert jsonc.put(text, ("servers", "rune"), {"command": "x"}) == (
        '{\r\n    "theme": "dark",\r\n    "servers": {\r\n        "rune": {\r\n'
        '            "command": "x"\r\n        }\r\n    },\r\n}'
    )


def test_a_value_is_replaced_where_it_stands() -> None:
    text = '{"a": {"b": 1 /* old */, "c": "é"}}'
    assert jsonc.put(text, ("a", "b"), "new") == '{"a": {"b": "new" /* old */, "c": "é"}}'


def test_an_element_is_appended_to_a_list() -> None:
    assert jsonc.put('{"a": [1]}', ("a", 1), 2) == '{"a": [1, 2]}'
    assert json.loads(jsonc.put('{\n  "a": []\n}', ("a", 0), 2)) == {"a": [2]}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{ // why\n "r": 1 }', "{ // why\n }"),
        ('{"r": 1}', "{}"),
        ('{"r": 1, "a": 2}', '{"a": 2}'),
        ('{\n  "a": 1, // one\n  "r": 2\n}', '{\n  "a": 1 // one\n}'),
        ('{\n  "a": 1,\n  // two\n  "r": 2,\n}', '{\n  "a": 1,\n  // two\n}'),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_a_member_goes_with_its_comma_and_no_comment(text: str, left: str) -> None:
    assert jsonc.drop(text, ("r",)) == left
    assert "r" not in jsonc.read(left)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a" 1}', "{'a': 1}", '{"a": 1} x', '{"a": NaN}', '{"a": "\n"}', "[" * 5000, "/*"],
)
def test_what_is_no_json_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(JsoncError, match=r"line \d|levels deep"):
        jsonc.put(text, ("a",), 1)


def test_a_place_that_something_else_has_is_refused() -> None:
    with pytest.raises(JsoncError, match="mcpServers is no object"):
        jsonc.put('{"mcpServers": []}', ("mcpServers", "rune"), ENTRY)


def test_comments_are_told_from_plain_json() -> None:
    jsonc.require_plain('{"a": "// no comment"}')
    for text in ('{"a": 1,}', '{"a": 1} // c'):
        with pytest.raises(JsoncError):
            jsonc.require_plain(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@st.composite
def _layouts(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An object, written by a hand that likes comments, tabs and trailing commas."""
    data = draw(st.dictionaries(st.text(max_size=4), _VALUES, max_size=4))
    space = st.sampled_from(["", " ", "\n", "\r\n\t", " // c, } \n", "/* { */", "\n  /* , */ "])

    def write(value: Any) -> str:
        if isinstance(value, dict):
            parts = [
                f"{json.dumps(k)}{draw(space)}:{draw(space)}{write(v)}" for k, v in value.items()
            ]
            opening, closing = "{", "}"
        elif isinstance(value, list):
            parts, opening, closing = [write(item) for item in value], "[", "]"
        else:
            return json.dumps(value)
        body = ",".join(draw(space) + part + draw(space) for part in parts)
        trailing = "," if parts and draw(st.booleans()) else ""
        return opening + body + trailing + draw(space) + closing

    return draw(space) + write(data) + draw(space), data


@settings(max_examples=100, deadline=None)
@given(_layouts(), st.sampled_from([("rune",), ("x", "rune"), ("x", "y", "rune")]))
def test_adding_and_removing_change_nothing_else(
    layout: tuple[str, dict[str, Any]], path: tuple[str, ...]
) -> None:
    text, data = layout
    assert jsonc.read(text) == data
    try:
        added = jsonc.put(text, path, ENTRY)
    except JsoncError:
        return  # something else is at x
    found: Any = jsonc.read(added)
    for step in path:
        found = found[step]
    assert found == ENTRY
    removed = jsonc.read(jsonc.drop(added, path))
    for depth in range(len(path) - 1, 0, -1):  # what had to be made on the way
        where: Any = data
        for step in path[:depth]:
            where = where.get(step) if isinstance(where, dict) else None
        if where is None:
            removed = jsonc.read(jsonc.drop(json.dumps(removed), path[:depth]))
    expected = json.loads(json.dumps(data))
    where = expected
    for step in path[:-1]:
        where = where.get(step) if isinstance(where, dict) else None
    if isinstance(where, dict):
        where.pop("rune", None)
    assert removed == expected
    assert added.count("/*") == text.count("/*")
    assert jsonc.drop(added, path).count("/*") == text.count("/*")
