"""The error tree, its picture and its codes stay together."""

from __future__ import annotations

import re

from rune_engine import errors


def test_the_picture_in_the_docstring_shows_exactly_the_tree() -> None:
    drawn = set(re.findall(r"\b([A-Z][A-Za-z]+Error)\b", errors.__doc__ or ""))
    assert drawn == {cls.__name__ for cls in errors.ERRORS_BY_CODE.values()}


def test_every_error_has_a_code_of_its_own() -> None:
    tree = errors._tree(errors.RuneError)
    assert len({cls.code for cls in tree}) == len(tree)


def test_an_error_survives_the_way_to_another_process() -> None:
    for cls in errors.ERRORS_BY_CODE.values():
        sent = cls("It broke.", next_step="Mend it.")
        received = errors.from_envelope(sent.to_envelope())
        assert type(received) is cls
        assert str(received) == "It broke. Mend it."


def test_an_unknown_code_from_a_newer_process_is_still_an_error() -> None:
    received = errors.from_envelope({"code": "from_the_future", "message": "Odd."})
    assert type(received) is errors.RuneError and received.message == "Odd."
