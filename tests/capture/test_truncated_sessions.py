"""A session file that is cut off anywhere is read as far as it goes, and spoils nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from session_files import AGENTS, claude_code

from rune_engine.capture.capturing import Capturing, Look
from rune_engine.capture.files import json_document
from rune_engine.capture.importers import IMPORTERS, Importer, detect
from rune_engine.capture.sources import Sources
from rune_engine.capture.steps import Reading
from rune_engine.capture.tasks import Task, tasks_of
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.models import CaptureParams
from rune_engine.trajectories import TrajectoryStore

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = sorted(file for file in DATA.glob("*/*") if file.suffix in (".jsonl", ".json", ".traj"))
STEP = 100
GOING_ON = Look("follower", final=False)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_a_real_file_cut_at_every_hundredth_byte_tells_its_earlier_tasks_and_keeps_other_sessions(
    path: Path, tmp_path: Path
) -> None:
    importer = detect(path)
    assert importer is not None
    cut_everywhere(path, importer, tmp_path, STEP)


@pytest.mark.parametrize(
    "agent", [name for name in AGENTS if name not in ("continue", "openhands")]
)
def test_a_file_of_any_agent_cut_anywhere_tells_its_earlier_tasks_and_keeps_other_sessions(
    agent: str, tmp_path: Path
) -> None:
    cut_everywhere(AGENTS[agent](tmp_path / "made"), IMPORTERS[agent], tmp_path, STEP)


def cut_everywhere(path: Path, importer: Importer, folder: Path, step: int) -> None:
    """Capture an earlier session, then a file as it would grow; at last the whole of it."""
    config = load_config(home=folder / "home")
    database = open_database(config)
    store = TrajectoryStore(database)
    capturing = Capturing(config, database, store, Sources(database, config))
    earlier = claude_code(folder / "earlier")
    (before,) = capturing.import_path(CaptureParams(path=str(earlier))).tasks
    content, whole = path.read_bytes(), told(importer.read(path))
    readings: list[Reading] = []

    def read(cut: Path) -> Reading:
        readings.append(importer.read(cut))
        return readings[-1]

    growing = folder / "made" / path.name if path.is_relative_to(folder) else folder / path.name
    for length in range(0, len(content), step):
        growing.write_bytes(content[:length])
        capturing.look(growing, replace(importer, read=read), GOING_ON)
        assert_is_beginning(told(readings.pop()), whole)
    growing.write_bytes(content)
    capturing.look(growing, importer, Look("follower", final=True))
    assert store.get(str(before.trajectory_id)).outcome == "success"
    stored = {one.task_description for one in store.page(limit=100).trajectories}
    assert {task.description for task in whole} <= stored
    assert store.page().total <= 1 + len(whole)
    database.close()


def told(reading: Reading) -> list[Task]:
    return [task for session in reading.sessions for task in tasks_of(session)]


def assert_is_beginning(tasks: list[Task], whole: list[Task]) -> None:
    """What is closed is as in the whole; the last task is so far as it went."""
    assert len(tasks) <= len(whole)
    for task, full in zip(tasks, whole, strict=False):
        if task.closed:
            assert task.fingerprint == full.fingerprint
        assert full.description.startswith(task.description[:50])
        assert len(task.attempts) <= len(full.attempts) + 1


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, {"b": "c"}, 23], "d": {"e": [true, null]}}',
        '[{"key": "a\\"b\\\\", "n": -1.5e3}, [], {}, "\\u00e9"]',
    ],
)
def test_a_document_cut_anywhere_keeps_what_is_complete_and_invents_nothing(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "document.json"
    path.write_text(text)
    full, whole = json_document(path, Reading())
    assert whole
    for length in range(len(text)):
        path.write_text(text[:length])
        found, whole = json_document(path, Reading())
        assert not whole
        assert found is None or _is_part(found, full), text[:length]


def _is_part(found: object, full: object) -> bool:
    if isinstance(found, dict) and isinstance(full, dict):
        return all(name in full and _is_part(value, full[name]) for name, value in found.items())
    if isinstance(found, list) and isinstance(full, list):
        pairs = zip(found, full, strict=False)
        return len(found) <= len(full) and all(_is_part(one, other) for one, other in pairs)
    return found == full
