"""What the registry promises to whoever stores and looks for adapters."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path

import pytest
from adapter_files import draft, weights
from sqlalchemy import text

from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.durable import in_use
from rune_engine.errors import (
    AdapterAlreadyExistsError,
    AdapterNotFoundError,
    InvalidIdError,
    InvalidInputError,
    StorageError,
)
from rune_engine.registry import AdapterFilter, AdapterRegistry, AdapterWeights


def visible(config: RuneConfig) -> set[str]:
    return {path.name for path in config.adapters_path.iterdir()}


def test_an_adapter_comes_back_as_it_was_stored(
    registry: AdapterRegistry, config: RuneConfig
) -> None:
    given = weights(1)
    assert isinstance(given.safetensors, bytes)
    stored = registry.store(draft(task_type="bug-fix", training_task_hash="t"), given)
    assert registry.retrieve_by_id(stored.id) == stored
    assert str(uuid.UUID(stored.id)) == stored.id
    assert stored.file_hash == hashlib.sha256(given.safetensors).hexdigest()
    assert stored.file_size_bytes == len(given.safetensors)
    assert Path(stored.file_path).read_bytes() == given.safetensors
    assert (stored.version, stored.generation, stored.rank) == (1, 0, 2)
    assert (stored.pass_rate, stored.fitness_score, stored.is_archived) == (None, None, False)
    reference = registry.verified_ref(stored.id)
    assert reference.path == config.adapters_path / stored.id
    assert (reference.sha256, reference.base_model_id) == (stored.file_hash, "tiny")


def test_weights_may_be_a_file(registry: AdapterRegistry, tmp_path: Path) -> None:
    given = weights(1)
    assert isinstance(given.safetensors, bytes)
    path = tmp_path / "trained.safetensors"
    path.write_bytes(given.safetensors)
    stored = registry.store(draft(), AdapterWeights(path, given.config))
    path.write_bytes(b"overwritten by its owner")
    assert registry.verified_ref(stored.id).sha256 == stored.file_hash


def test_weights_that_are_not_there_are_refused(registry: AdapterRegistry, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no weights"):
        registry.store(draft(), AdapterWeights(tmp_path / "nothing", weights().config))


def test_files_are_read_only_and_shared_by_equal_weights(
    registry: AdapterRegistry, config: RuneConfig
) -> None:
    first, second = (registry.store(draft(), weights(7)) for _ in range(2))
    paths = [Path(first.file_path), Path(second.file_path)]
    assert paths[0].samefile(paths[1])
    assert paths[0].stat().st_mode & 0o777 == 0o444
    assert len(list(config.objects_path.glob("*/*.safetensors"))) == 1
    assert not list((config.objects_path / "tmp").iterdir())


def test_an_id_is_never_stored_twice(registry: AdapterRegistry) -> None:
    first = registry.store(draft(id="mine"), weights(1))
    with pytest.raises(AdapterAlreadyExistsError):
        registry.store(draft(id="mine"), weights(2))
    assert registry.list_all() == [first]
    assert registry.verified_ref("mine").sha256 == first.file_hash


def test_a_folder_in_the_way_is_never_replaced(
    registry: AdapterRegistry, config: RuneConfig
) -> None:
    (config.adapters_path / "mine").mkdir()
    with pytest.raises(AdapterAlreadyExistsError):
        registry.store(draft(id="mine"), weights())
    assert registry.list_all() == []
    assert not list((config.adapters_path / "mine").iterdir())
    assert not list((config.objects_path / "tmp").iterdir())


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "a.b", "-a", "x\n"])
def test_ids_that_could_spell_a_path_are_refused(registry: AdapterRegistry, bad: str) -> None:
    with pytest.raises(InvalidIdError):
        registry.store(draft(id=bad), weights())
    for call in (registry.retrieve_by_id, registry.verified_ref, registry.archive):
        with pytest.raises(InvalidIdError):
            call(bad)


def test_unknown_adapters_are_not_found(registry: AdapterRegistry) -> None:
    for call in (registry.retrieve_by_id, registry.verified_ref, registry.archive):
        with pytest.raises(AdapterNotFoundError, match="nobody"):
            call("nobody")
    with pytest.raises(AdapterNotFoundError):
        registry.update_fitness("nobody", 0.5, 0.5)
    with pytest.raises(AdapterNotFoundError, match="nobody"):
        registry.store(draft(id="orphan", parent_ids=["nobody"]), weights())
    with pytest.raises(AdapterNotFoundError):
        registry.retrieve_by_id("orphan")


def test_a_store_that_fails_at_its_row_leaves_no_folder(
    registry: AdapterRegistry, config: RuneConfig
) -> None:
    with pytest.raises(AdapterNotFoundError):
        registry.store(draft(id="later", parent_ids=["nobody"]), weights())
    assert visible(config) == set()
    registry.store(draft(id="later"), weights())
    assert visible(config) == {"later"}


def test_a_child_is_a_later_version_and_its_parents_stay(registry: AdapterRegistry) -> None:
    parents = [registry.store(draft(), weights(n)) for n in range(2)]
    child = registry.store(draft(parent_ids=[p.id for p in parents]), weights(3))
    grandchild = registry.store(draft(parent_ids=[parents[0].id, child.id]), weights(4))
    assert (child.version, child.generation) == (2, 1)
    assert (grandchild.version, grandchild.generation) == (3, 2)
    assert child.parent_ids == [p.id for p in parents]
    assert [registry.retrieve_by_id(p.id) for p in parents] == parents


def test_fitness_and_archiving_are_all_that_changes(registry: AdapterRegistry) -> None:
    stored = registry.store(draft(), weights())
    changed = registry.update_fitness(stored.id, 0.75, 0.5)
    assert changed == stored.model_copy(update={"pass_rate": 0.75, "fitness_score": 0.5})
    archived = registry.archive(stored.id)
    assert archived == changed.model_copy(update={"is_archived": True})
    assert registry.retrieve_by_id(stored.id) == archived
    assert registry.verified_ref(stored.id).sha256 == stored.file_hash


@pytest.mark.parametrize(
    ("pass_rate", "fitness"), [(1.1, 0.5), (-0.1, 0.5), (float("nan"), 0.5), (0.5, float("inf"))]
)
def test_numbers_out_of_range_are_no_fitness(
    registry: AdapterRegistry, pass_rate: float, fitness: float
) -> None:
    stored = registry.store(draft(), weights())
    with pytest.raises(InvalidInputError):
        registry.update_fitness(stored.id, pass_rate, fitness)
    assert registry.retrieve_by_id(stored.id) == stored


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM adapter_records",
        "UPDATE adapter_records SET file_hash = 'x'",
        "UPDATE adapter_records SET base_model_id = 'other', is_archived = 1",
        "INSERT OR REPLACE INTO adapter_records SELECT * FROM adapter_records",
        "UPDATE adapter_records SET pass_rate = 2",
        "UPDATE adapter_records SET is_archived = 'yes'",
    ],
)
def test_the_database_itself_refuses_to_change_history(
    registry: AdapterRegistry, database: Database, statement: str
) -> None:
    stored = registry.store(draft(), weights())
    with pytest.raises(StorageError), database.writing() as session:
        session.connection().execute(text(statement))
    assert registry.list_all() == [stored]


def test_every_fixed_column_is_guarded(registry: AdapterRegistry, database: Database) -> None:
    stored = registry.store(draft(agent_id="a", training_task_hash="t"), weights())
    mutable = {"pass_rate", "fitness_score", "is_archived", "forgotten_at"}
    with database.reading() as session:
        rows = session.connection().execute(text("PRAGMA table_info(adapter_records)"))
        columns = [row.name for row in rows]
    for column in set(columns) - mutable:
        with pytest.raises(StorageError, match="write-once"), database.writing() as session:
            session.connection().execute(text(f"UPDATE adapter_records SET {column} = {column}"))
    assert registry.list_all() == [stored]


def test_the_best_of_a_task_type_is_the_fittest_in_use(registry: AdapterRegistry) -> None:
    unevaluated, weak, strong = (
        registry.store(draft(task_type="bug-fix"), weights(n)) for n in range(3)
    )
    other = registry.store(draft(task_type="refactor"), weights(9))
    registry.update_fitness(other.id, 1.0, 1.0)
    assert registry.query_best_for_task("bug-fix") == strong, "the newest of the unevaluated"
    registry.update_fitness(weak.id, 0.2, 0.2)
    registry.update_fitness(strong.id, 0.9, 0.9)
    best = registry.query_best_for_task("bug-fix")
    assert best is not None and best.id == strong.id
    registry.archive(strong.id)
    best = registry.query_best_for_task("bug-fix")
    assert best is not None and best.id == weak.id
    assert {a.id for a in registry.query_by_task_type("bug-fix")} == {unevaluated.id, weak.id}
    assert registry.query_best_for_task("bug-fix", base_model_id="other") is None
    assert registry.query_best_for_task("bug-fix", project_id="other") is None
    assert len(registry.list_all()) == 4


def test_pages_cover_everything_once_newest_first(registry: AdapterRegistry) -> None:
    ids = [registry.store(draft(), weights()).id for _ in range(5)]
    registry.store(draft(project_id="beta"), weights())
    registry.archive(ids[0])
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = registry.page(project_id="alpha", include_archived=True, offset=offset, limit=2)
        seen += [adapter.id for adapter in page.adapters]
        assert page.total == 5
        offset = page.next_offset
    assert seen == ids[::-1]
    assert registry.page(project_id="alpha").total == 4
    assert registry.page(project_id="alpha", offset=99).adapters == []
    counts = registry.counts()
    assert (counts.active, counts.archived) == (5, 1)
    assert counts.by_project == {"alpha": 4, "beta": 1}


def test_the_same_training_task_can_be_recognised(registry: AdapterRegistry) -> None:
    stored = registry.store(draft(training_task_hash="abc"), weights())
    assert registry.best(AdapterFilter(training_task_hash="abc")) == stored
    assert registry.best(AdapterFilter(training_task_hash="abd")) is None


def test_the_configuration_is_stored_in_one_canonical_spelling(registry: AdapterRegistry) -> None:
    shapes = weights().safetensors
    config = weights(target_modules=["q_proj", "k_proj"]).config
    first = registry.store(draft(), AdapterWeights(shapes, config))
    turned = dict(reversed(config.items())) | {"target_modules": ["k_proj", "q_proj"]}
    second = registry.store(draft(), AdapterWeights(shapes, turned))
    files = [Path(a.file_path).with_name("adapter_config.json") for a in (first, second)]
    assert files[0].read_bytes() == files[1].read_bytes()
    content = json.loads(files[0].read_bytes())
    assert content["target_modules"] == ["k_proj", "q_proj"]
    assert content["base_model_name_or_path"] == "tiny"
    assert "use_dora" not in content


def test_a_home_can_be_moved(
    registry: AdapterRegistry, database: Database, config: RuneConfig, tmp_path: Path
) -> None:
    from rune_engine.database import open_database

    stored = registry.store(draft(), weights())
    database.close()
    config.home.rename(tmp_path / "moved")
    moved = config.model_copy(update={"home": tmp_path / "moved"})
    reopened = open_database(moved)
    assert AdapterRegistry(reopened, moved).verified_ref(stored.id).sha256 == stored.file_hash
    reopened.close()


def leavings(config: RuneConfig) -> list[Path]:
    """What an interrupted writer may leave: scratch, an object, an adapter's folder."""
    scratch = config.objects_path / "tmp"
    (scratch / "file").write_bytes(b"x")
    folder = config.adapters_path / "lost"
    for parent in (scratch / "folder", folder):
        parent.mkdir()
        (parent / "adapter_config.json").write_bytes(b"x")
        (parent / "adapter_model.safetensors").write_bytes(b"x")
    (config.objects_path / "ab").mkdir(exist_ok=True)
    lost = config.objects_path / "ab" / f"{'ab' * 32}.safetensors"
    lost.write_bytes(b"x")
    return [folder, lost]


def test_what_interrupted_writers_leave_is_swept_and_nothing_else(
    registry: AdapterRegistry, database: Database, config: RuneConfig
) -> None:
    stored = registry.store(draft(), weights())
    (config.adapters_path / "mine").mkdir()
    strays = leavings(config)
    AdapterRegistry(database, config)
    assert not list((config.objects_path / "tmp").iterdir())
    assert all(path.exists() for path in strays), "what may be somebody's goes only when told"
    assert registry.sweep()
    assert not any(path.exists() for path in strays)
    assert (config.adapters_path / "mine").exists(), "not an adapter's"
    assert registry.verified_ref(stored.id).sha256 == stored.file_hash


def test_nothing_is_swept_while_somebody_writes(
    registry: AdapterRegistry, database: Database, config: RuneConfig
) -> None:
    scratch = config.objects_path / "tmp"
    with in_use(scratch):
        strays = [*leavings(config), scratch / "file", scratch / "folder"]
        for path in strays:
            os.utime(path, (0, 0))  # as a clock that jumps makes them look
        AdapterRegistry(database, config)
        assert not registry.sweep()
        assert all(path.exists() for path in strays)


def test_the_folder_of_a_writer_that_was_killed_is_not_in_the_way(
    registry: AdapterRegistry, config: RuneConfig
) -> None:
    folder, _ = leavings(config)
    stored = registry.store(draft(id=folder.name), weights())
    assert registry.verified_ref(folder.name).sha256 == stored.file_hash
    assert not list((config.objects_path / "tmp").glob("*.stray"))
