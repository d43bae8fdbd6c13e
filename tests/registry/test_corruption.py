"""Whatever happens to an adapter's files, it is noticed before they are loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from adapter_files import draft, weights

from rune_engine.errors import AdapterCorruptedError
from rune_engine.models import AdapterInfo
from rune_engine.registry import AdapterRegistry


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))


def assert_damaged(registry: AdapterRegistry, adapter: AdapterInfo) -> None:
    with pytest.raises(AdapterCorruptedError, match=adapter.id) as caught:
        registry.verified_ref(adapter.id)
    assert caught.value.next_step


def test_one_flipped_bit_anywhere_in_the_weights_is_noticed(registry: AdapterRegistry) -> None:
    stored = registry.store(draft(), weights())
    path = Path(stored.file_path)
    for position in range(0, stored.file_size_bytes, 7):

        def flip(data: bytes, position: int = position) -> bytes:
            return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]

        edit(path, flip)
        assert_damaged(registry, stored)
        edit(path, flip)
    assert registry.verified_ref(stored.id).sha256 == stored.file_hash


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data.replace(b"4", b"5", 1) if b"4" in data else data[::-1],
    ],
    ids=["truncated", "grown", "emptied", "changed"],
)
def test_a_changed_file_is_noticed(
    registry: AdapterRegistry, name: str, change: Callable[[bytes], bytes]
) -> None:
    stored = registry.store(draft(), weights())
    edit(Path(stored.file_path).with_name(name), change)
    assert_damaged(registry, stored)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_file_that_is_gone_or_is_a_link_is_noticed(
    registry: AdapterRegistry, name: str, tmp_path: Path
) -> None:
    stored = registry.store(draft(), weights())
    path = Path(stored.file_path).with_name(name)
    shutil.copy(path, tmp_path / name)
    path.unlink()
    assert_damaged(registry, stored)
    path.symlink_to(tmp_path / name)
    assert_damaged(registry, stored)


def test_a_folder_that_is_gone_is_noticed(registry: AdapterRegistry) -> None:
    stored = registry.store(draft(), weights())
    shutil.rmtree(Path(stored.file_path).parent)
    assert_damaged(registry, stored)


def test_another_adapters_weights_in_its_place_are_noticed(registry: AdapterRegistry) -> None:
    stored, other = (registry.store(draft(), weights(n)) for n in range(2))
    shutil.copy(other.file_path, Path(stored.file_path).with_suffix(".new"))
    Path(stored.file_path).with_suffix(".new").replace(stored.file_path)
    assert_damaged(registry, stored)
    assert registry.verified_ref(other.id).sha256 == other.file_hash


def test_nothing_new_is_built_on_weights_that_have_rotted(registry: AdapterRegistry) -> None:
    stored = registry.store(draft(), weights())
    edit(Path(stored.file_path), lambda data: data[:-1] + b"\x7f")
    with pytest.raises(AdapterCorruptedError):
        registry.store(draft(), weights())
    assert registry.list_all() == [stored]
