"""Suites are read from HumanEval's format, or refused with the line that is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from rune_engine.errors import InvalidInputError
from rune_engine.evaluation.suites import load_suite


def row(number: int) -> str:
    fields = {
        "task_id": f"T/{number}",
        "prompt": "def one():\n",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
        "entry_point": "one",
        "declaration": "left alone",
    }
    return json.dumps(fields)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_tasks_are_loaded_in_order_plain_or_compressed(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"suite{suffix}"
    data = f"{row(0)}\n\n{row(1)}\n{row(2)}\n".encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    tasks = load_suite(path)
    assert [task.task_id for task in tasks] == ["T/0", "T/1", "T/2"]
    assert [task.task_id for task in load_suite(path, 2)] == ["T/0", "T/1"]
    assert tasks[0].task_description == ("Complete this function.\n```python\ndef one():\n\n```")
    assert tasks[0].test_suite.endswith("\ncheck(one)\n")
    assert tasks[0].reference_solution == "def one():\n    return 1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "line 2"),
        ("not json", "line 2"),
        (row(1).replace('"one"', '"one; import os"'), "entry_point"),
        (row(1).replace('"T/1"', "1"), "task_id"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "suite.jsonl"
    path.write_text(f"{row(0)}\n{text}\n")
    with pytest.raises(InvalidInputError, match=said) as caught:
        load_suite(path)
    assert "line 2" in caught.value.message
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.jsonl", None),
        ("empty.jsonl", b"\n"),
        ("binary.jsonl", b"\xff\xfe"),
        ("not-gzip.jsonl.gz", b"{}"),
        ("cut.jsonl.gz", gzip.compress(b"{}" * 1000)[:-8]),
    ],
)
def test_an_unreadable_file_is_refused(name: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=name):
        load_suite(path)


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        load_suite(tmp_path / "suite.jsonl", 0)
