"""The hook leaves one line and is gone; whatever it is given, its host notices nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rune_engine.capture import hook
from rune_engine.capture.hook_folder import HookFolder
from rune_engine.config import load_config

HOOK = Path(str(hook.__file__))
EVENT = {
    "session_id": "5e55-101e",
    "hook_event_name": "PostToolUse",
    "cwd": "/work/calc",
    "transcript_path": "/nowhere/5e55-101e.jsonl",
    "tool_name": "Bash",
    "tool_input": {"command": "pytest"},
    "tool_response": {"stdout": "1 passed"},
}


def call(home: Path, given: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-I", "-S", str(HOOK)],
        input=given,
        capture_output=True,
        env={**os.environ, "RUNE_HOME": str(home)},
        timeout=60,
        check=False,
    )


def is_silent(ran: subprocess.CompletedProcess[bytes]) -> bool:
    return (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


@pytest.fixture
def folder(tmp_path: Path) -> HookFolder:
    config = load_config(home=tmp_path)
    folder = HookFolder(config)
    folder.tell("undecided")
    return folder


def lines(folder: HookFolder) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for file in folder.files()
        for line in file.read_text().splitlines()
        if line
    ]


def test_before_the_user_has_decided_only_the_session_is_named(folder: HookFolder) -> None:
    assert is_silent(call(folder.path.parent, json.dumps(EVENT).encode()))
    (line,) = lines(folder)
    assert line == {name: EVENT[name] for name in
                    ("session_id", "hook_event_name", "cwd", "transcript_path")}  # fmt: skip
    (file,) = folder.files()
    assert file.name == "5e55-101e.jsonl" and file.stat().st_mode & 0o777 == 0o600


def test_once_it_is_allowed_the_event_is_kept_with_long_texts_cut(folder: HookFolder) -> None:
    folder.tell("allowed")
    long = {**EVENT, "tool_response": {"stdout": "x" * 300_000 + "1 passed"}}
    assert is_silent(call(folder.path.parent, json.dumps(EVENT).encode()))
    assert is_silent(call(folder.path.parent, json.dumps(long).encode()))
    first, second = lines(folder)
    assert first == EVENT
    response = second["tool_response"]
    assert isinstance(response, dict)
    assert len(response["stdout"]) < 70_000 and response["stdout"].endswith("1 passed")


def test_once_it_is_forbidden_nothing_is_left_and_what_was_is_gone(folder: HookFolder) -> None:
    call(folder.path.parent, json.dumps(EVENT).encode())
    folder.tell("forbidden")
    assert is_silent(call(folder.path.parent, json.dumps(EVENT).encode()))
    assert folder.files() == []


def test_whatever_it_is_given_it_ends_well_and_says_nothing(folder: HookFolder) -> None:
    home = folder.path.parent
    given = [b"", b"no JSON", b"[]", b"{}", b'{"session_id": {"a": 1}}', b"\xff\xfe", b"[" * 10_000,
             json.dumps({**EVENT, "session_id": "../../../etc/x\0"}).encode(),
             json.dumps({**EVENT, "session_id": "s" * 5000}).encode()]  # fmt: skip
    assert all(is_silent(call(home, each)) for each in given)
    assert is_silent(call(home / "nowhere", json.dumps(EVENT).encode()))
    assert not (home / "nowhere").exists()
    assert all(file.parent == folder.path for file in folder.files())


def test_it_ends_well_where_it_may_not_write(folder: HookFolder) -> None:
    (folder.path / "5e55-101e.jsonl").symlink_to(folder.path.parent / "elsewhere")
    assert is_silent(call(folder.path.parent, json.dumps(EVENT).encode()))
    assert not (folder.path.parent / "elsewhere").exists()


def test_many_hooks_at_once_lose_no_line_and_mix_none(folder: HookFolder) -> None:
    folder.tell("allowed")
    events = [{**EVENT, "tool_use_id": f"t{n}", "tool_response": {"stdout": "y" * 20_000}}
              for n in range(16)]  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        ran = list(pool.map(lambda e: call(folder.path.parent, json.dumps(e).encode()), events))
    assert all(map(is_silent, ran))
    assert {line["tool_use_id"] for line in lines(folder)} == {f"t{n}" for n in range(16)}


def test_it_imports_nothing_of_ours_and_little_of_the_library() -> None:
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", str(HOOK)],
        input=b"{}",
        capture_output=True,
        timeout=60,
        check=True,
    )
    loaded = {line.split("|")[-1].strip() for line in ran.stderr.decode().splitlines()}
    assert "json" in loaded
    heavy = {"rune_engine", "pathlib", "subprocess", "socket", "typing", "dataclasses", "sqlite3"}
    assert not heavy & loaded
