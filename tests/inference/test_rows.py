"""A row's text as it is shown: whole characters, nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from rune_engine.inference.provider import GenerationRequest
from rune_engine.inference.rows import Row


class Bytes:
    """A vocabulary whose tokens are bytes; 256 ends a completion."""

    stop_ids = frozenset({256})

    def text(self, tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token < 256).decode("utf-8", "replace")


def spoken(said: str, stop: Sequence[str], limit: int = 1000) -> tuple[Row, list[str]]:
    """Give a row the bytes of `said`, and its end, until it has ended."""
    pieces: list[str] = []
    request = GenerationRequest(prompt="", stop=tuple(stop))
    row = Row(request, None, [], limit, Bytes(), lambda: False, pieces.append)
    for token in [*said.encode(), 256]:
        if not row.ended:
            row.accept(token)
    return row, pieces


TEXTS = st.text(alphabet="abé😀\n", max_size=40)


@given(TEXTS, st.lists(st.text(alphabet="abé\n", min_size=1, max_size=4), max_size=3))
def test_the_pieces_are_the_text_before_the_first_stop_string(said: str, stop: list[str]) -> None:
    row, pieces = spoken(said, stop)
    # What ends first ends the answer; of those that end together, the one that began first.
    ends = [said.find(s) + len(s) for s in stop if s in said]
    first = min(ends, default=None)
    expected = said
    if first is not None:
        expected = said[: min(said.find(s) for s in stop if 0 <= said.find(s) <= first - len(s))]
    assert row.generation().text == expected
    assert "".join(pieces) == expected
    assert row.finish_reason == "stop"


def test_a_character_is_shown_when_it_is_whole() -> None:
    _, pieces = spoken("a😀é", [])
    assert pieces == ["a", "😀", "é"]


def test_an_end_that_may_become_a_stop_string_waits() -> None:
    _, pieces = spoken("xab", ["abc"])
    assert pieces == ["x", "ab"]
    _, pieces = spoken("xabc", ["abc"])
    assert pieces == ["x"]


def test_the_limit_ends_a_row_and_shows_what_is_there() -> None:
    row, pieces = spoken("é😀", [], limit=3)
    assert row.finish_reason == "length"
    assert "".join(pieces) == row.generation().text == "é\ufffd"
