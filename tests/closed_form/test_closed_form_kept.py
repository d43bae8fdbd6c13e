"""What is kept on disk: whole or not there, exactly the same sums, and gone when it has to be."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import closed_form_support as support
import pytest
import torch

from rune_engine import statistic_files
from rune_engine.errors import HomeNotWritableError
from trainers.closed_form import files
from trainers.closed_form.evidence import Evidence
from trainers.closed_form.kept import Kept, Store
from trainers.closed_form.statistics import Statistics
from trainers.tokens import Example

HASH = "a" * 64
EXAMPLES = [Example([1, 2, 3], [-100, 2, 3])]
DIES = """
import os, signal, sys
from pathlib import Path
import torch
from trainers.closed_form import files
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write(Path(sys.argv[1]), "source", files.Content({"rows": torch.ones(64, 64)}, {}))
"""


def evidence(count: int, seed: int = 0) -> tuple[Evidence, torch.Tensor]:
    """Rows of keys with 24 numbers, and values with 8."""
    made = torch.Generator().manual_seed(seed)
    keys, states, values = (torch.randn(count, n, generator=made) for n in (24, 8, 8))
    return Evidence(keys, states, torch.randint(0, 100, (count,), generator=made)), values


def content(number: float = 1.0) -> files.Content:
    return files.Content({"rows": torch.full((40, 40), number)}, {"rest": number})


def test_what_was_written_is_read_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "base" / "file.safetensors"
    files.write(path, "source", content(2.5))
    found = files.read(path, "source")
    assert found is not None and found.numbers == {"rest": 2.5}
    assert torch.equal(found.tensors["rows"], torch.full((40, 40), 2.5))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text", "foreign", "missing"])
def test_what_is_damaged_or_foreign_reads_as_nothing(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "file.safetensors"
    files.write(path, "another" if damage == "foreign" else "source", content())
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-100] ^= 1
    changed = {"cut": data[:-8], "empty": b"", "text": b"{" * 4000}.get(damage, data)
    path.write_bytes(changed)
    if damage == "missing":
        path.unlink()
    assert files.read(path, "source") is None


def test_a_writer_that_is_killed_leaves_no_half_file(tmp_path: Path) -> None:
    path = statistic_files.file_of(tmp_path / "base", HASH)
    ended = subprocess.run([sys.executable, "-c", DIES, str(path)], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    [left] = path.parent.iterdir()
    assert left.name.endswith(".partial") and files.read(path, "source") is None
    files.write(path, "source", content())
    assert files.read(path, "source") is not None
    assert statistic_files.forget(tmp_path, lambda: [HASH]) == []
    statistic_files.forget(tmp_path, list)
    assert list(path.parent.iterdir()) == []


def test_many_writers_of_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    files.write(path, "source", content())
    broken: list[int] = []

    def write(number: int) -> None:
        for _ in range(20):
            files.write(path, "source", content(number))
            if files.read(path, "source") is None:
                broken.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert broken == [] and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("no folder")
    with pytest.raises(HomeNotWritableError):
        files.write(tmp_path / "base" / "file.safetensors", "source", content())


def test_few_rows_are_kept_as_they_are() -> None:
    rows, values = evidence(32)
    kept = Kept.of(rows, values)
    assert len(kept.keys) == len(kept.judged) == 32 and kept.keys.dtype == torch.bfloat16
    assert kept.judged.keys is kept.keys


def test_many_rows_become_fewer_with_exactly_the_same_sums() -> None:
    rows, values = evidence(500)
    kept = Kept.of(rows, values)
    assert len(kept.keys) == 24 + 8 and len(kept.judged) == 16
    wanted = Statistics.of(rows.keys.bfloat16().float(), values.bfloat16().float())
    found = Statistics.of(kept.keys, kept.values)
    torch.testing.assert_close(found.gram, wanted.gram, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(found.cross, wanted.cross, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("count", [10, 500])
def test_a_store_gives_back_what_it_keeps(tmp_path: Path, count: int) -> None:
    [trajectory] = support.trajectories(1)
    store, kept = Store(tmp_path, "base"), Kept.of(*evidence(count))
    assert store.load(trajectory, EXAMPLES) is None
    store.keep(trajectory, EXAMPLES, kept)
    found = store.load(trajectory, EXAMPLES)
    assert found is not None
    assert torch.equal(found.keys, kept.keys) and torch.equal(found.values, kept.values)
    for name in ("keys", "states", "tokens"):
        assert torch.equal(getattr(found.judged, name), getattr(kept.judged, name))
    assert Store(tmp_path, "another base").load(trajectory, EXAMPLES) is None
    assert store.load(trajectory, [Example([1, 2, 4], [-100, 2, 4])]) is None


@pytest.mark.parametrize("name", ["rune-nano-1.0", "Qwen/Qwen2.5", "../../etc", ".", "ü" * 300])
def test_a_base_model_has_one_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    folder = statistic_files.folder_of(tmp_path, name)
    assert folder.resolve().parent == tmp_path.resolve() and folder.name not in ("", ".", "..")
    assert folder != statistic_files.folder_of(tmp_path, name + "_")
    folder.mkdir()


def test_a_name_that_is_no_hash_becomes_no_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hash"):
        statistic_files.file_of(tmp_path, "../../rune.db")


def test_what_is_known_of_a_base_model_is_not_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in (statistic_files.KNOWN, f"{HASH}.safetensors", f"{'b' * 64}.safetensors"):
        (folder / name).touch()
    assert len(statistic_files.forget(tmp_path, lambda: [HASH])) == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{HASH}.safetensors",
        statistic_files.KNOWN,
    ]


def test_the_least_recently_used_go_where_there_is_too_much(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for age, letter in enumerate("abc"):
        path = folder / f"{letter * 64}.safetensors"
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    (folder / f".{HASH}.safetensors.1.partial").touch()
    os.utime(folder / f".{HASH}.safetensors.1.partial", (1e9, 1e9))
    statistic_files.touch(folder / f"{'c' * 64}.safetensors")
    statistic_files.tidy(tmp_path, most_bytes=250)
    assert sorted(path.name[0] for path in folder.iterdir()) == ["a", "c"]
