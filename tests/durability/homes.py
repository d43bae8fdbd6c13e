"""One home's stores, what the killed processes write to them, and what must hold afterwards."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapter_files import draft as adapter_draft
from adapter_files import weights
from forks import import_for

from rune_engine.config import RuneConfig, load_config
from rune_engine.database import Database, open_database
from rune_engine.errors import AdapterAlreadyExistsError
from rune_engine.models import AdapterInfo, Attempt, Trajectory, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

FILES = {"adapter_config.json", "adapter_model.safetensors"}
WAIT_SECONDS = 120.0
"""Bound of every wait; nothing here takes so long unless it hangs."""

_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Stores:
    """A home as one process has it open."""

    config: RuneConfig
    database: Database
    registry: AdapterRegistry
    trajectories: TrajectoryStore


@contextmanager
def opened(home: Path) -> Iterator[Stores]:
    config = load_config(home=home)
    database = open_database(config)
    try:
        registry = AdapterRegistry(database, config)
        yield Stores(config, database, registry, TrajectoryStore(database))
    finally:
        database.close()


@contextmanager
def scratch(folder: Path | None = None) -> Iterator[Path]:
    """A folder for homes; in memory where possible, as `kill -9` does not empty caches."""
    if folder is None and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 256 * 1024**2:
        folder = _MEMORY
    with tempfile.TemporaryDirectory(prefix="rune-crash-", dir=folder) as path:
        import_for(lambda: _use_all(Path(path, "first")))
        yield Path(path)


def _use_all(home: Path) -> None:
    with opened(home) as stores:
        record(stores, 0)
        publish_and_archive(stores, 0)
        check_swept(stores)
    shutil.rmtree(home)


# --- what is written ------------------------------------------------------------------------


def publish(stores: Stores, number: int) -> AdapterInfo:
    """Store the adapter of that number; `already_published` accepts the second time."""
    return stores.registry.store(adapter_draft(id=adapter_id(number)), weights(number))


def adapter_id(number: int) -> str:
    return f"adapter-{number}"


def trajectory(number: int) -> TrajectoryDraft:
    """The trajectory of that number, with two attempts."""
    return TrajectoryDraft(
        project_id="shop",
        task_description=f"Add two numbers, {number}.",
        attempts=[
            Attempt(generated_code="def add(a, b): return a", tests_passed=False, stderr="1 != 3"),
            Attempt(generated_code="def add(a, b): return a + b", tests_passed=True),
        ],
        outcome="success",
        session_id=f"session-{number}",
    )


def record(stores: Stores, number: int) -> Trajectory:
    return stores.trajectories.record(trajectory(number))[0]


# --- what must hold -------------------------------------------------------------------------


def check_adapters(stores: Stores, acknowledged: Collection[int]) -> set[str]:
    """Every row verifies, and every acknowledged adapter has one; the ids of all rows."""
    rows = {adapter.id: adapter for adapter in stores.registry.list_all()}
    for row in rows.values():
        assert stores.registry.verified_ref(row.id).sha256 == row.file_hash
    lost = {adapter_id(number) for number in acknowledged} - rows.keys()
    assert not lost, f"acknowledged adapters are lost: {sorted(lost)}"
    return set(rows)


def check_trajectories(stores: Stores, acknowledged: Collection[int]) -> int:
    """Every trajectory is whole, none is there twice, every acknowledged one is; how many."""
    found: list[Trajectory] = []
    offset: int | None = 0
    while offset is not None:
        page = stores.trajectories.page(offset=offset, limit=100)
        found, offset = [*found, *page.trajectories], page.next_offset
    tasks = [one.task_description for one in found]
    assert len(set(tasks)) == len(tasks), "a trajectory is there twice"
    assert all(len(one.attempts) == 2 for one in found), "a trajectory lacks an attempt"
    lost = {trajectory(number).task_description for number in acknowledged} - set(tasks)
    assert not lost, f"acknowledged trajectories are lost: {sorted(lost)}"
    return len(found)


def check_database(stores: Stores) -> None:
    """SQLite finds nothing wrong, and no transaction was half applied."""
    with closing(sqlite3.connect(stores.config.database_path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        empty = (
            "SELECT count(*) FROM sessions WHERE id NOT IN (SELECT session_id FROM trajectories)"
        )
        assert connection.execute(empty).fetchone() == (0,), "a session without a trajectory"


def check_swept(stores: Stores) -> None:
    """After a sweep the home holds what the rows refer to, and nothing else."""
    stores.registry.sweep()
    rows = {adapter.id: adapter for adapter in stores.registry.list_all()}
    folders = {path.name: {file.name for file in path.iterdir()} for path in adapters(stores)}
    assert folders == dict.fromkeys(rows, FILES)
    objects = {path.stem for path in stores.config.objects_path.rglob("*.safetensors")}
    assert objects == {adapter.file_hash for adapter in rows.values()}
    assert not list((stores.config.objects_path / "tmp").iterdir())


def adapters(stores: Stores) -> list[Path]:
    return list(stores.config.adapters_path.iterdir())


def publish_again(stores: Stores, number: int, *, is_there: bool) -> None:
    """The same publish succeeds when it was lost, and is refused when it was not."""
    try:
        publish(stores, number)
    except AdapterAlreadyExistsError:
        assert is_there, "a lost publish cannot be repeated"
    else:
        assert not is_there, "an adapter was replaced"


def record_again(stores: Stores, number: int, *, is_there: bool) -> None:
    """Recording once more finds the trajectory, or stores it; it is there once either way."""
    _, duplicate = stores.trajectories.record(trajectory(number))
    assert duplicate == is_there


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


def make(home: Path) -> bool:
    """A new home with its database."""
    with opened(home):
        return True


def publish_and_archive(stores: Stores, number: int) -> None:
    publish(stores, number)
    stores.registry.archive(adapter_id(number))


def check_archived(stores: Stores, acknowledged: Collection[int]) -> None:
    archived = {adapter.id for adapter in stores.registry.list_all() if adapter.is_archived}
    lost = {adapter_id(number) for number in acknowledged} - archived
    assert not lost, f"acknowledged archives are lost: {sorted(lost)}"
