"""Weights and configurations that no loader may ever see."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from adapter_files import draft, lora_config, safetensors, weights

from rune_engine.config import RuneConfig
from rune_engine.errors import InvalidInputError
from rune_engine.registry import AdapterRegistry, AdapterWeights

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
PAIR = {f"{MODULE}.lora_A.weight": [2, 8], f"{MODULE}.lora_B.weight": [8, 2]}
GOOD = safetensors(PAIR)


def assert_refused(
    registry: AdapterRegistry, config: RuneConfig, given: AdapterWeights, problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem) as caught:
        registry.store(draft(), given)
    assert caught.value.next_step
    assert registry.list_all() == []
    assert not list(config.adapters_path.iterdir())
    assert [p.name for p in config.objects_path.iterdir()] == ["tmp"]
    assert not list((config.objects_path / "tmp").iterdir())


def with_header(change: Callable[[dict[str, Any]], None]) -> bytes:
    length = struct.unpack("<Q", GOOD[:8])[0]
    header = json.loads(GOOD[8 : 8 + length])
    change(header)
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + GOOD[8 + length :]


def set_first(**values: Any) -> bytes:
    return with_header(lambda header: header[f"{MODULE}.lora_A.weight"].update(values))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "header"),
        (b"\x80\x04\x95pickle", "header"),
        (GOOD[:-1], "take 128 bytes, but it holds 127"),
        (GOOD + b"\0", "take 128 bytes, but it holds 129"),
        (struct.pack("<Q", 2**63) + GOOD[8:], "header"),
        (struct.pack("<Q", 2 * 1024**2) + b" " * 3 * 1024**2, "header"),
        (struct.pack("<Q", 900_000) + b"[" * 900_000, "header"),
        (struct.pack("<Q", 2) + b"\xff\xff", "header"),
        (struct.pack("<Q", 2) + b"{}", "empty"),
        (set_first(dtype="I64"), "dtype"),
        (set_first(dtype="F64"), "dtype"),
        (set_first(shape=[2, 9]), "offsets"),
        (set_first(shape=[16]), "shape"),
        (set_first(shape=[-2, -8]), "shape"),
        (set_first(data_offsets=[0, 60]), "offsets"),
        (set_first(data_offsets=[64, 128]), "offsets"),
        (set_first(data_offsets=[-64, 0]), "offsets"),
        (set_first(surprise=1), "surprise"),
        (with_header(lambda h: h.update({"__metadata__": {"a": 1}})), "__metadata__"),
        (safetensors({f"{MODULE}.lora_A.weight": [2, 8]}), "lacks"),
        (safetensors(PAIR | {f"{MODULE}.weight": [2, 2]}), "not the name of a LoRA"),
        (safetensors(PAIR | {"../../x.lora_A.weight": [2, 2]}), "not the name of a LoRA"),
        (
            safetensors({"m.k_proj.lora_A.weight": [2, 8], "m.k_proj.lora_B.weight": [8, 2]}),
            "none of the target modules",
        ),
        (
            safetensors({f"{MODULE}.lora_A.weight": [4, 8], f"{MODULE}.lora_B.weight": [8, 4]}),
            "rank is 2",
        ),
    ],
)
def test_bytes_that_are_not_exactly_a_plain_lora_are_refused(
    registry: AdapterRegistry, config: RuneConfig, content: bytes, problem: str
) -> None:
    assert_refused(registry, config, AdapterWeights(content, lora_config()), problem)


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "IA3"},
        {"r": 0},
        {"r": 257},
        {"r": "2"},
        {"lora_alpha": float("nan")},
        {"lora_alpha": float("inf")},
        {"lora_alpha": "4"},
        {"target_modules": "all-linear"},
        {"target_modules": "(a+)+$"},
        {"target_modules": []},
        {"target_modules": ["(a+)+$"]},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"use_dora": "yes"},
        {"layer_replication": [[0, 2]]},
        {"megatron_core": "os"},
        {"auto_mapping": {"parent_library": "os"}},
        {"rank_pattern": {"q_proj": 64}},
        {"corda_config": {"cache_file": "/etc/passwd"}},
        {"something_new": 1},
    ],
)
def test_configurations_that_do_more_than_a_plain_lora_are_refused(
    registry: AdapterRegistry, config: RuneConfig, change: dict[str, Any]
) -> None:
    given = AdapterWeights(GOOD, lora_config(**change))
    assert_refused(registry, config, given, next(iter(change)))


def test_a_dora_is_accepted_with_its_magnitudes_and_refused_without(
    registry: AdapterRegistry, config: RuneConfig
) -> None:
    dora = lora_config(use_dora=True)
    assert_refused(registry, config, AdapterWeights(GOOD, dora), "magnitude_vector")
    length = struct.unpack("<Q", GOOD[:8])[0]
    header = json.loads(GOOD[8 : 8 + length])
    magnitude = {"dtype": "F32", "shape": [8], "data_offsets": [128, 160]}
    header[f"{MODULE}.lora_magnitude_vector"] = magnitude
    encoded = json.dumps(header).encode()
    content = struct.pack("<Q", len(encoded)) + encoded + GOOD[8 + length :] + bytes(32)
    assert_refused(registry, config, AdapterWeights(content, lora_config()), "has more")
    registry.store(draft(), AdapterWeights(content, dora))
    assert len(registry.list_all()) == 1


def test_every_accepted_data_type_is_accepted(registry: AdapterRegistry) -> None:
    for dtype in ("F16", "BF16"):
        header = {
            name: {"dtype": dtype, "shape": shape, "data_offsets": [32 * n, 32 * n + 32]}
            for n, (name, shape) in enumerate(PAIR.items())
        }
        encoded = json.dumps(header).encode()
        content = struct.pack("<Q", len(encoded)) + encoded + b"\0" * 64
        registry.store(draft(), AdapterWeights(content, weights().config))
    assert len(registry.list_all()) == 2
