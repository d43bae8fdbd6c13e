"""One bit flips somewhere in a stored adapter: it is said so, and nothing of it is served."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from adapter_files import draft, weights
from engine_support import end_engines, finished, scripted_config

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.errors import AdapterCorruptedError
from rune_engine.models import AdapterInfo, RunTaskParams
from rune_engine.registry import AdapterRegistry

REGIONS = ("header length", "header", "first tensor", "second tensor", "end", "configuration")


@contextmanager
def opened(config: RuneConfig) -> Iterator[AdapterRegistry]:
    database = open_database(config)
    try:
        yield AdapterRegistry(database, config)
    finally:
        database.close()


def positions(path: Path, region: str) -> list[int]:
    """The first, the middle and the last byte of a region of a safetensors file."""
    data = path.read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:begin])
    tensors = sorted(
        tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__"
    )
    ranges = {
        "header length": (0, 8),
        "header": (8, begin),
        "first tensor": (begin + tensors[0][0], begin + tensors[0][1]),
        "second tensor": (begin + tensors[1][0], begin + tensors[1][1]),
        "end": (len(data) - 1, len(data)),
    }
    first, end = ranges[region]
    return [first, (first + end) // 2, end - 1]


def flip(path: Path, position: int, bit: int) -> None:
    """In place, as a disk would: whoever shares the file sees it too."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


def places(stored: AdapterInfo, config: RuneConfig, region: str) -> list[tuple[Path, int]]:
    """Where to flip: in the adapter's folder, and through the object that it shares."""
    path = Path(stored.file_path)
    if region == "configuration":
        settings = path.with_name("adapter_config.json")
        return [(settings, position) for position in range(0, settings.stat().st_size, 9)]
    shared = config.objects_path / stored.file_hash[:2] / f"{stored.file_hash}.safetensors"
    return [(file, position) for file in (path, shared) for position in positions(path, region)]


@pytest.mark.parametrize("region", REGIONS)
def test_a_flipped_bit_in_any_region_is_noticed(config: RuneConfig, region: str) -> None:
    with opened(config) as registry:
        stored = registry.store(draft(), weights())
        for path, position in places(stored, config, region):
            for bit in (0, 7):
                flip(path, position, bit)
                with pytest.raises(AdapterCorruptedError, match=stored.id) as caught:
                    registry.verified_ref(stored.id)
                assert caught.value.next_step
                flip(path, position, bit)
        assert registry.verified_ref(stored.id).sha256 == stored.file_hash


async def test_an_engine_serves_no_adapter_that_has_rotted(tmp_path: Path) -> None:
    config = scripted_config(tmp_path)
    with opened(config) as registry:
        stored = registry.store(draft(project_id="shop", base_model_id="scripted"), weights())
    path = Path(stored.file_path)
    flip(path, positions(path, "second tensor")[1], 3)
    try:
        async with EngineClient(config) as client:
            with pytest.raises(AdapterCorruptedError, match=stored.id):
                await client.run_task(task(stored.id))
            job = await finished(client, await client.run_task(task("auto")))
            assert job.status == "failed" and job.error is not None
            assert job.error["code"] == "adapter_corrupted" and job.error["next_step"]
            assert (await client.status()).trajectories == 0, "nobody was asked"
    finally:
        end_engines(config)


def task(adapter: str) -> RunTaskParams:
    return RunTaskParams(task_description="Add two numbers", project_id="shop", adapter=adapter)
