"""What is told about an adapter before a vLLM server sees it; no server is needed for that."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inference_support import BASE_MODEL_ID

from rune_engine.errors import AdapterCorruptedError, AdapterUnsupportedError, InvalidInputError
from rune_engine.inference.adapter_files import WEIGHTS
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.vllm.base_shapes import module_shapes
from rune_engine.inference.vllm.mixing import make_zeros
from rune_engine.inference.vllm.refusals import check_servable, rounded_rank
from rune_engine.inference.vllm.replies import ServerFacts
from rune_engine.inference.vllm.staging import Staging

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

Tensors = dict[str, Any]
FACTS = ServerFacts(max_rank=8, max_cpu_adapters=4)
A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
B = A.replace("lora_A", "lora_B")


@pytest.fixture
def copy(adapter_a: AdapterRef, tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    shutil.copytree(adapter_a.path, folder)
    return folder


def check(folder: Path, base: Path) -> None:
    digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    adapter = AdapterRef("changed", folder, digest, BASE_MODEL_ID)
    check_servable(adapter, FACTS, module_shapes(base))


def configure(folder: Path, changes: dict[str, Any]) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_plain_adapter_is_none_to_refuse(copy: Path, base_folder: Path) -> None:
    check(copy, base_folder)
    configure(copy, {"use_rslora": True, "alpha_pattern": {"q_proj": 3}})
    check(copy, base_folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"r": 9}, "rank 9 is above the server's 8"),
        ({"rank_pattern": {"q_proj": 64}}, "rank 64"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head cannot be a target"),
        ({"target_modules": ["embed_tokens"]}, "embed_tokens cannot be a target"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["score"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"use_qalora": True}, "QALoRA"),
    ],
)
def test_what_is_sound_but_not_for_vllm_is_told_as_that(
    copy: Path, base_folder: Path, changes: dict[str, Any], reason: str
) -> None:
    configure(copy, changes)
    with pytest.raises(AdapterUnsupportedError, match=reason) as raised:
        check(copy, base_folder)
    assert raised.value.next_step


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_alpha": float("nan")},
        {"alpha_pattern": {"q_proj": float("inf")}},
        {"alpha_pattern": {"q_proj": "x"}},
        {"alpha_pattern": ["q_proj"]},
        {"rank_pattern": {"(": 3}},
        {"rank_pattern": {"q_proj": 3}},
        {"peft_type": "IA3"},
        {"r": "4"},
    ],
)
def test_a_configuration_that_means_nothing_is_refused(
    copy: Path, base_folder: Path, changes: dict[str, Any]
) -> None:
    configure(copy, changes)
    with pytest.raises(AdapterCorruptedError):
        check(copy, base_folder)


def half_a_rank(tensors: Tensors) -> None:
    tensors[A] = tensors[A][:3].clone()


def other_rank(tensors: Tensors) -> None:
    tensors[A], tensors[B] = tensors[A][:3].clone(), tensors[B][:, :3].clone()


def half_a_pair(tensors: Tensors) -> None:
    del tensors[B]


def too_wide(tensors: Tensors) -> None:
    tensors[A] = torch.cat([tensors[A], tensors[A]], dim=1)


def whole_numbers(tensors: Tensors) -> None:
    tensors[A] = tensors[A].to(torch.int8)


def unknown_layer(tensors: Tensors) -> None:
    for name in (A, B):
        tensors[name.replace("layers.0", "layers.77")] = tensors[name].clone()


def base_weight(tensors: Tensors) -> None:
    tensors["base_model.model.model.norm.weight"] = torch.zeros(64)


def nothing(tensors: Tensors) -> None:
    tensors.clear()


@pytest.mark.parametrize(
    "change",
    [
        half_a_rank,
        other_rank,
        half_a_pair,
        too_wide,
        whole_numbers,
        unknown_layer,
        base_weight,
        nothing,
    ],
)
def test_weights_that_vllm_would_garble_or_choke_on_are_refused(
    copy: Path, base_folder: Path, change: Callable[[Tensors], None]
) -> None:
    file = copy / "adapter_model.safetensors"
    tensors = safetensors.load_file(file)
    change(tensors)
    safetensors.save_file(tensors, file)
    with pytest.raises(AdapterCorruptedError):
        check(copy, base_folder)


def test_a_file_that_is_not_whole_is_refused(copy: Path, base_folder: Path) -> None:
    file = copy / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(AdapterCorruptedError):
        check(copy, base_folder)


def test_what_is_no_file_is_not_waited_for(copy: Path, tmp_path: Path) -> None:
    (copy / "adapter_config.json").unlink()
    os.mkfifo(copy / "adapter_config.json")
    staging = Staging.open(tmp_path / "staging")
    with pytest.raises(AdapterCorruptedError, match="cannot be read"):
        staging.copy(AdapterRef("pipe", copy, "0" * 64, BASE_MODEL_ID))
    staging.close()


def test_a_configuration_without_a_bottom_is_refused(copy: Path, base_folder: Path) -> None:
    (copy / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(AdapterCorruptedError):
        check(copy, base_folder)


def test_the_adapter_of_zeros_is_none_to_refuse(base_folder: Path, tmp_path: Path) -> None:
    shapes = module_shapes(base_folder)
    zeros = make_zeros(tmp_path / "zeros", BASE_MODEL_ID, shapes)
    check_servable(zeros, FACTS, shapes)
    assert not any(w.any() for w in safetensors.load_file(zeros.path / WEIGHTS).values())
    with pytest.raises(InvalidInputError, match="no layer"):
        make_zeros(tmp_path / "none", BASE_MODEL_ID, {"wte": (512, 64)})


def test_ranks_are_rounded_up_to_what_vllm_knows() -> None:
    assert [rounded_rank(rank) for rank in (1, 2, 8, 9, 64, 257)] == [1, 8, 8, 16, 64, 320]
    with pytest.raises(InvalidInputError, match="512"):
        rounded_rank(513)
