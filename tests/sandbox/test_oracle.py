"""The comparison outside, the values that cross, and what makes a pass sure."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.cases import Cases
from rune_engine.sandbox.compiling import compile_tests
from rune_engine.sandbox.inside import values
from rune_engine.sandbox.oracle import Raised, Returned, control, examine

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(alphabet=st.characters(codec=None), max_size=9),
    st.binary(max_size=9),
    st.complex_numbers(allow_nan=False),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(SCALARS, max_size=4),
        st.frozensets(SCALARS, max_size=4),
        st.dictionaries(SCALARS, inner, max_size=4),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_a_plain_value_crosses_unchanged_and_equals_itself(value: Any) -> None:
    crossed = values.decode(values.encode(value))
    assert repr(crossed) == repr(value) or crossed == value
    assert type(crossed) is type(value)
    assert values.same(crossed, value)


@given(VALUES, VALUES)
def test_what_is_the_same_is_equal_in_python_too(left: Any, right: Any) -> None:
    if values.same(left, right):
        assert left == right
        assert (type(left) is bool) == (type(right) is bool)


def test_text_of_surrogates_is_not_joined_to_one_character() -> None:
    pair = "\ud83d\ude00"
    assert values.decode(values.encode(pair)) == pair != "\U0001f600"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    framed = b"%d\n%s" % (len(data), data)
    for each in (data, framed):
        try:
            values.decode(each)
        except values.NotAValue:
            continue


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"NaN",
        b"[]",
        b"{}",
        b'["x"]',
        b'["i",1]',
        b'["i","01"]',
        b'["i","0x1"]',
        b'["f","nAn"]',
        b'["f","1.0"]',
        b'["b",1]',
        b'["n",1]',
        b'["l"]',
        b'["l",["n"]]',
        b'["S",[["i","1"],["i","1"]]]',
        b'["d",[[["n"],["n"]],[["n"],["n"]]]]',
        b'["d",[[["l",[]],["n"]]]]',
        b'["s","a"]["s","b"]',
        b'["l",[' * 400,
        b"[" * 100_000,
        b'["r",["i","0"],["i","1"],["i","0"]]',
        b'["i","' + b"f" * 30_000 + b'"]',
        b'["S",[' + b",".join(b'["i","%x"]' % n for n in range(5000)) + b"]]",
    ],
)
def test_what_the_runner_would_not_write_is_refused(body: bytes) -> None:
    with pytest.raises(values.NotAValue):
        values.decode(b"%d\n%s" % (len(body), body))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, True, False),
        ([1], [True], False),
        ({1: 0}, {True: 0}, False),
        ({0, 1}, {False, True}, False),
        (1, 1.0, True),
        ([1.0], [1], True),
        ((1,), [1], False),
        ("1", 1, False),
        ({1}, frozenset({1}), True),
        (math.nan, math.nan, False),
        (values.Opaque("E"), values.Opaque("E"), False),
        ([values.Opaque("E")], [3], False),
    ],
)
def test_equality_is_pythons_but_a_bool_is_no_number(left: Any, right: Any, same: bool) -> None:
    assert values.same(left, right) is same
    assert values.same(right, left) is same


def _compiled(tests: str) -> Cases:
    cases = compile_tests(tests, ())
    assert isinstance(cases, Cases), cases
    return cases


def test_an_answer_counts_only_where_it_is_asked_for() -> None:
    tests = "try:\n    f(1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError"
    [expectation] = _compiled(tests).expectations
    bad_value = Raised(("ValueError", "Exception"), "ValueError: no\n")
    assert examine(expectation, [bad_value], tests).ok
    assert not examine(expectation, [Raised(("KeyError",), "KeyError: 1\n")], tests).ok
    assert not examine(expectation, [Returned(1)], tests).ok
    assert not examine(expectation, [Raised((), "ValueError: said so\n")], tests).ok


def test_the_negative_control_needs_a_test_that_a_stand_in_fails() -> None:
    tests = "assert f(1) == 2"
    assert control(_compiled(tests), [Returned(2)], tests)
    weak = "assert f(1) is not None"
    assert not control(_compiled(weak), [Returned(2)], weak)


async def test_a_pass_that_depends_on_the_hash_seed_is_not_confirmed(sandbox: Sandbox) -> None:
    code = "def f(x): return x + (0 if hash('a') == SEEN else 1)\nSEEN = {}"
    seen = await sandbox.run("def f(): return hash('a')", "assert f() == 'never'")
    value = seen.evidence.cases[0].message.split(" against ")[0]
    tests = "assert f(1) == 1"
    assert (await sandbox.run(code.format(value), tests)).kind == "pass"
    verdict = await sandbox.run(code.format(value), tests, confirm=True)
    assert verdict.kind == "infra"
    assert "not repeatable" in verdict.message


@pytest.mark.parametrize("tests", ["assert True", "def test_f():\n    f\n"])
async def test_tests_that_pass_without_a_candidate_confirm_nothing(
    tests: str, sandbox: Sandbox
) -> None:
    verdict = await sandbox.run("def f(): return 1", tests, confirm=True)
    assert verdict.kind == "infra"
    assert "decide nothing" in verdict.message


async def test_every_case_is_accounted_for(sandbox: Sandbox) -> None:
    tests = "assert f(1) == 1\nassert f(2) == 2\nassert f(3) == 4\nassert f(4) == 4"
    verdict = await sandbox.run("def f(x): return x", tests)
    assert verdict.kind == "fail"
    assert [case.ok for case in verdict.evidence.cases] == [True, True, False, True]
    assert verdict.evidence.cases[2].id == "2: tests.py:3"
    assert verdict.evidence.cases[2].message == "3 against 4"
    assert all(case.wall_seconds > 0 for case in verdict.evidence.cases)


async def test_a_case_that_never_answers_is_not_passed_over(sandbox: Sandbox) -> None:
    code = "import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x"
    verdict = await sandbox.run(code, "assert f(1) == 1\nassert f(2) == 2\nassert f(3) == 3")
    assert verdict.kind == "candidate_error"
    assert [case.ok for case in verdict.evidence.cases] == [True]
