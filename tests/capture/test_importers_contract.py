"""Every importer keeps one contract: what happened is told, whatever else is in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from session_files import (
    AGENTS,
    CWD,
    FAILED,
    PASSED,
    PROMPT,
    RIGHT,
    TESTS,
    WITHOUT_EXIT_CODES,
    WRONG,
    claude_code,
    claude_hooks,
)

from rune_engine.capture.importers import IMPORTERS, detect, importer_of, sessions_below
from rune_engine.capture.importers import claude_hooks as hooks_importer
from rune_engine.capture.importers import inbox as inbox_importer
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.steps import Reading
from rune_engine.capture.tasks import Task, tasks_of
from rune_engine.errors import InvalidInputError

READERS: dict[str, Importer] = {**IMPORTERS, "claude-hooks": hooks_importer.IMPORTER}
MAKERS = {**AGENTS, "claude-hooks": claude_hooks}


@pytest.fixture(params=MAKERS)
def agent(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def tasks(reading: Reading) -> list[Task]:
    return [task for session in reading.sessions for task in tasks_of(session)]


def files(unit: Path) -> list[Path]:
    return sorted(unit.iterdir()) if unit.is_dir() else [unit]


def check_story(told: list[Task], agent: str) -> None:
    """One task, wrong and then right, with the commands' outputs and exit codes."""
    (task,) = told
    codes = [None, None] if agent in WITHOUT_EXIT_CODES else [1, 0]
    assert (task.description, task.outcome) == (PROMPT, "success")
    assert [attempt.generated_code for attempt in task.attempts] == [WRONG, RIGHT]
    outputs = [f"$ {TESTS}\n{FAILED}", f"$ {TESTS}\n{PASSED}"]
    assert [attempt.stdout for attempt in task.attempts] == outputs
    assert [attempt.exit_code for attempt in task.attempts] == codes
    assert [attempt.tests_passed for attempt in task.attempts] == [False, True]


def test_a_session_is_told_with_its_attempts_outputs_exit_codes_and_outcome(
    agent: str, tmp_path: Path
) -> None:
    unit = MAKERS[agent](tmp_path)
    reading = READERS[agent].read(unit)
    told = tasks(reading)
    check_story(told, agent)
    assert not reading.skipped and reading.understood
    expected = str(unit.parent) if agent == "aider" else None if agent == "continue" else CWD
    assert told[0].cwd == expected


def test_reading_changes_nothing_and_tells_the_same_again(agent: str, tmp_path: Path) -> None:
    unit = MAKERS[agent](tmp_path)
    before = {
        file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files(unit) if file.is_file()
    }
    first, second = (tasks(READERS[agent].read(unit)) for _ in range(2))
    assert [task.fingerprint for task in first] == [task.fingerprint for task in second]
    assert before == {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in before}


def test_unknown_records_and_replayed_ones_are_passed_over_and_counted(
    agent: str, tmp_path: Path
) -> None:
    unit = MAKERS[agent](tmp_path)
    grown = [file for file in files(unit) if file.suffix == ".jsonl"]
    if not grown:
        pytest.skip("one document, not records")
    for file in grown:
        strange = [
            b'{"type": "from-the-future", "eventName": "nobodyKnows"}',
            b"[1, 2]",
            b"no JSON",
        ]
        content = file.read_bytes()
        replay = content if agent in ("claude-code", "continue") else b""
        file.write_bytes(content + b"\n".join(strange) + b"\n" + replay + b'{"half": "a li')
    reading = READERS[agent].read(unit)
    check_story(tasks(reading), agent)
    assert reading.skipped["a half line"] == len(grown)
    assert reading.skipped["a line that is no record"] == 2 * len(grown)
    assert sum(reading.skipped.values()) >= 4 * len(grown)


def test_a_file_of_each_agent_is_recognised_as_its_own(tmp_path: Path) -> None:
    made = {agent: make(tmp_path) for agent, make in AGENTS.items()}
    found = {importer.agent: unit for unit, importer in sessions_below(tmp_path)}
    assert found == made
    for agent, unit in made.items():
        (first, *_) = files(unit)
        assert detect(first) is IMPORTERS[agent]


@pytest.mark.parametrize("agent", READERS)
def test_what_is_no_session_tells_nothing_and_breaks_nothing(agent: str, tmp_path: Path) -> None:
    deep = b"[" * 100_000
    contents = [b"", b"\0" * 100, b"\xff\xfe{}", b"null", b"[]", b"{}", b'[{"a": [1, {"b"', deep,
                b'{"type": "user", "message": 7}\n{"type": "response_item", "payload": [1]}\n',
                b'{"trajectory": [7, {"action": 3}], "history": {"0": 1}, "messages": "x"}',
                b'{"loglines": [[], {"type": "user", "message": {"content": {"a": 1}}}]}',
                b'"\\ud800" ', b'{"n": ' + b"9" * 5000 + b"}"]  # fmt: skip
    suffixes = {"aider": ".md", "swe-agent": ".traj", "cline": ".json", "roo": ".json"}
    path = tmp_path / f"file{suffixes.get(agent, '.jsonl')}"
    for content in contents:
        path.write_bytes(content)
        assert tasks(READERS[agent].read(path)) == []
    with pytest.raises(InvalidInputError):
        READERS[agent].read(tmp_path / "not there.json")


def test_an_agent_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="no importer for 'nobody'"):
        importer_of("nobody")


def test_a_subagents_work_belongs_to_the_turn_it_was_done_in(tmp_path: Path) -> None:
    path = claude_code(tmp_path)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for second, record in enumerate(records):
        record["timestamp"] = f"2026-01-01T10:00:{second:02}.000Z"
    beside = path.with_suffix("") / "subagents" / "agent-1.jsonl"
    beside.parent.mkdir(parents=True)
    main, others = [r for r in records if r.get("uuid") not in ("a0", "r0")], records[2:4]
    prompt = {**records[1], "uuid": "s0", "message": {"role": "user", "content": "Write a file."}}
    path.write_text("".join(json.dumps(record) + "\n" for record in main))
    beside.write_text("".join(json.dumps(record) + "\n" for record in [prompt, *others]))
    check_story(tasks(IMPORTERS["claude-code"].read(path)), "claude-code")
    assert IMPORTERS["claude-code"].unit_of(beside) == path


def test_a_session_that_goes_on_waits_for_its_tool(tmp_path: Path) -> None:
    path = claude_code(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    (session,) = IMPORTERS["claude-code"].read(path).sessions
    assert session.waiting and not session.ended
    (task,) = tasks_of(session)
    assert (task.outcome, len(task.attempts), task.closed) == ("unknown", 2, False)


def test_the_documented_schema_of_the_drop_folder_is_the_one_that_is_read() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    assert json.loads((docs / "inbox.schema.json").read_text()) == inbox_importer.json_schema()
    (example,) = re.findall(r"```json\n(.*?)```", (docs / "capture.md").read_text(), re.S)
    session = inbox_importer.InboxSession.model_validate_json(example)
    assert [step.type for step in session.steps] == ["prompt", "edit", "command"]
