"""The glance never tells a text clean in which the detectors find something."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.planted_secrets import all_kinds
from rune_engine.privacy import redact
from rune_engine.privacy.glance import is_plainly_clean

PIECES = (
    *("password", "TOKEN", "key", "ключ_token", "pass", " ", "\t", "=", ":", "'", '"', "\\", "is "),
    *("--", "<", ">", "://", "@", "hunter2x9", "a" * 20, "Ab1" * 9, "ghp_" + "a1" * 18, "\n"),
    *("AKIA" + "Q1" * 8, "sk-" + "x9" * 20, "0123456789abcdef" * 2, "eyJ" + "a" * 12, "."),
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(max_examples=600, deadline=None)
def test_what_is_found_was_worth_looking_for(text: str) -> None:
    assert not is_plainly_clean(text) or not redact(text).found


def test_nothing_is_missed_in_a_whole_library() -> None:
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:80]
    missed = []
    for file in files:
        for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
            if redact(line).found and is_plainly_clean(line):
                missed.append(line)
    assert len(files) > 40 and missed == []


def test_half_a_character_is_looked_at_closely() -> None:
    assert not is_plainly_clean("\ud800")


@pytest.mark.parametrize("seed", range(6))
def test_no_planted_secret_is_overlooked(seed: int) -> None:
    for planted in all_kinds(seed):
        assert not is_plainly_clean(planted.text), planted.kind


def test_plain_code_is_clean_at_a_glance() -> None:
    code = "def weigh(values):\n    return [value * 2 for value in values if value > 12]\n" * 20
    assert is_plainly_clean(code)
