"""A session file that somebody made to do harm costs a reading, and nothing else."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from session_files import AGENTS

from rune_engine.capture.importers import IMPORTERS
from rune_engine.capture.tasks import tasks_of
from rune_engine.errors import InvalidInputError

FILES = int(os.environ.get("RUNE_HOSTILE_FILES", "40"))
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    2**70,
    "",
    "\0",
    "\x1b[2J",
    "../../etc/passwd",
    "/dev/zero",
    "/\0",
    "x" * 3000,
    "((((" * 500,
    "<<EOF\n" * 300,
    "'\"`$(",
    "\ud800",
    [],
    {},
    [[[[]]]],
    {"type": "text", "text": ["x"]},
    [None, 1, {"a": []}],
)


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with something in it put in place of something else."""
    if rng.random() < 0.03:
        return rng.choice(VALUES)
    if isinstance(value, dict):
        made = {key: changed(item, rng) for key, item in value.items() if rng.random() > 0.02}
        if made and rng.random() < 0.05:
            made[rng.choice(list(made))] = rng.choice(VALUES)
        return made
    if isinstance(value, list):
        made_list = [changed(item, rng) for item in value]
        return made_list * 2 if made_list and rng.random() < 0.05 else made_list
    return value


def lines_changed(text: str, rng: random.Random) -> bytes:
    """A text with its JSON changed, line by line or as one; other texts grow."""
    try:
        return _spelled(changed(json.loads(text), rng))
    except ValueError:
        pass
    lines = text.splitlines()
    for at in rng.sample(range(len(lines)), k=min(3, len(lines))):
        try:
            lines[at] = _spelled(changed(json.loads(lines[at]), rng)).decode("utf-8", "replace")
        except ValueError:
            lines[at] = rng.choice(lines) + str(rng.choice(VALUES))
    return "\n".join(lines).encode("utf-8", "replace")


def bytes_changed(text: str, rng: random.Random) -> bytes:
    data = bytearray(text.encode())
    for _ in range(rng.randrange(1, 20)):
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(data)


def _spelled(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("agent", list(AGENTS))
def test_a_session_file_that_was_tampered_with_is_read_or_refused(
    agent: str, tmp_path: Path
) -> None:
    unit = AGENTS[agent](tmp_path)
    files = [unit] if unit.is_file() else sorted(file for file in unit.rglob("*") if file.is_file())
    texts = {file: file.read_text() for file in files if file.suffix != ".zip"}
    ways: list[Callable[[str, random.Random], bytes]] = [
        lines_changed,
        lines_changed,
        bytes_changed,
    ]
    told = 0
    for seed in range(FILES):
        rng = random.Random(f"{agent} {seed}")
        file = rng.choice(list(texts))
        file.write_bytes(rng.choice(ways)(texts[file], rng))
        told += _told(agent, unit)
        file.write_text(texts[file])
    assert told  # it is not refused altogether


def _told(agent: str, unit: Path) -> int:
    """How many tasks a unit tells of; each can be spelled and has an identity."""
    try:
        reading = IMPORTERS[agent].read(unit)
    except InvalidInputError:
        return 0
    tasks = [task for session in reading.sessions for task in tasks_of(session)]
    for task in tasks:
        assert len(task.fingerprint) == 64
        task.description.encode()
    return len(tasks)


def test_an_archive_that_is_damaged_or_a_bomb_is_passed_over(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("event-1.json", json.dumps({"source": "user", "kind": "x"}) * 50)
    for at in range(30, 80):
        data = bytearray(whole.getvalue())
        data[at] ^= 0xFF
        (tmp_path / "events.zip").write_bytes(data)
        IMPORTERS["openhands"].read(tmp_path / "events.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"event-{number}.json", b"[" * 30_000_000)
    reading = IMPORTERS["openhands"].read(tmp_path / "bomb.zip")
    assert reading.skipped == {"an archive that is too large": 1}
