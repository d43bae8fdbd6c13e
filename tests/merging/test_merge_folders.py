"""Merges of adapters on disk: what PEFT reads of them, what is refused, how alike they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import merging_support as support
import pytest
import torch
from merging_support import dense, job, off, silent, write
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from rune_engine.errors import (
    AdapterBaseModelMismatchError,
    AdapterCorruptedError,
    MergeRefusedError,
    RuneError,
)
from rune_engine.models.merging import CompareJob
from rune_engine.registry.lora_config import parse_lora_config
from trainers.merging.adapters import read
from trainers.merging.compare import compare
from trainers.merging.merge import merge, merge_adapters
from trainers.merging.methods import Method

KINDS: list[dict[str, Any]] = [
    {"r": 4, "lora_alpha": 8},
    {"r": 6, "lora_alpha": 3, "use_rslora": True},
    {"r": 2, "rank_pattern": {"q_proj": 5}, "alpha_pattern": {"down_proj": 7}},
]


def saved_by_peft(base: Path, folder: Path, seed: int, **settings: Any) -> Any:
    """An adapter of the base model that changes something, as PEFT saves it."""
    torch.manual_seed(seed)
    config = LoraConfig(target_modules=list(support.TARGETS), task_type="CAUSAL_LM", **settings)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return model


def deltas(model: Any) -> dict[str, torch.Tensor]:
    return {
        name: module.get_delta_weight("default").double()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


@pytest.mark.parametrize("other", range(1, len(KINDS)))
def test_peft_reads_of_a_merge_the_average_of_what_it_reads_of_the_parents(
    base: Path, tmp_path: Path, other: int
) -> None:
    chosen = [KINDS[0], KINDS[other]]
    found = [
        deltas(saved_by_peft(base, tmp_path / str(seed), seed, **settings))
        for seed, settings in enumerate(chosen)
    ]
    folders = [
        support.AdapterFolder(id=str(seed), path=str(tmp_path / str(seed)), base_model_id="tiny")
        for seed in range(2)
    ]
    result = merge(job(tmp_path, *folders), silent)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_bytes())
    assert parse_lora_config(config).r == result.rank == config["lora_alpha"]
    assert config["target_modules"] == list(support.TARGETS)
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out")
    merged = deltas(again)
    assert merged.keys() == found[0].keys() and len(merged) == 4 == result.modules
    for name, delta in merged.items():
        assert off(delta, (found[0][name] + found[1][name]) / 2) < 1e-5
    whole = sum(float(delta.square().sum()) for delta in merged.values()) ** 0.5
    assert result.delta_w_norm == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("method", ["svd", "ties_svd"])
def test_pefts_own_dense_merge_is_ours(base: Path, tmp_path: Path, method: str) -> None:
    """At ranks that fill every module PEFT's merge loses nothing by its cut."""
    model = saved_by_peft(base, tmp_path / "a", 1, r=32, lora_alpha=16)
    model.add_adapter("other", LoraConfig(r=32, lora_alpha=8, target_modules=list(support.TARGETS)))
    for name, parameter in model.named_parameters():
        if ".other." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path, selected_adapters=["other"])
    model.add_weighted_adapter(
        ["default", "other"], [1.0, 1.0], "both", combination_type=method, svd_rank=32, density=0.5
    )
    folders = [
        support.AdapterFolder(id=name, path=str(tmp_path / name), base_model_id="tiny")
        for name in ("a", "other")
    ]
    # PEFT's TIES divides by how many agree, ours by the share that they have of all weights.
    ours = Method("linear", (1.0, 1.0)) if method == "svd" else Method("ties", (0.5, 0.5), 0.5)
    merged = merge_adapters([read(folder) for folder in folders], ours)
    for name, update in merged.updates.items():
        layer = model.base_model.model.get_submodule(name)
        assert off(dense(update), layer.get_delta_weight("both").double()) < 1e-4


def test_different_target_modules_are_named_by_their_paths(tmp_path: Path) -> None:
    parents = [
        write(tmp_path, "one", 1),
        write(tmp_path, "other", 2, target_modules=list(support.SHAPES)),
    ]
    merge(job(tmp_path, *parents), silent)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_bytes())
    assert config["target_modules"] == sorted(support.SHAPES)


def fewer(shapes: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return dict(list(shapes.items())[:2])


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"base": "large"}, AdapterBaseModelMismatchError, "'large', 'tiny'"),
        ({"shapes": fewer(support.SHAPES)}, MergeRefusedError, "change different modules"),
        (
            {"shapes": support.SHAPES | {"model.layers.0.mlp.down_proj": (20, 48)}},
            MergeRefusedError,
            r"different shapes: \(20, 40\) and \(20, 48\)",
        ),
        ({"use_dora": True}, MergeRefusedError, "is a DoRA"),
        ({"init_lora_weights": "pissa"}, AdapterCorruptedError, "init_lora_weights"),
        ({"r": 5, "rank_pattern": {"o_proj": 3}}, None, ""),
    ],
)
def test_what_cannot_become_one_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], kind: type[RuneError] | None, reason: str
) -> None:
    parents = [write(tmp_path, "one", 1), write(tmp_path, "other", 2, **changes)]
    if kind is None:
        assert merge(job(tmp_path, *parents), silent).rank == 9
        return
    with pytest.raises(kind, match=reason) as caught:
        merge(job(tmp_path, *parents), silent)
    assert caught.value.next_step
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_fewer_than_two_different_parents_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path, "one", 1)
    for parents in ([], [one], [one, one]):
        with pytest.raises(MergeRefusedError, match="two different adapters"):
            merge(job(tmp_path, *parents), silent)


def test_a_weight_for_each_parent_is_asked_for(tmp_path: Path) -> None:
    parents = [write(tmp_path, name, seed) for seed, name in enumerate(("one", "other"))]
    with pytest.raises(MergeRefusedError, match="1 weights were given for 2"):
        merge(job(tmp_path, *parents, weights=[1.0]), silent)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    parents = [write(tmp_path, name, seed) for seed, name in enumerate(("one", "other"))]
    file = Path(parents[1].path) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(AdapterCorruptedError, match="Adapter other cannot be read"):
        merge(job(tmp_path, *parents), silent)


def test_likeness_is_that_of_the_whole_matrices(tmp_path: Path) -> None:
    folders = [
        write(tmp_path, "one", 1),
        write(tmp_path, "other", 2, r=7, lora_alpha=3),
        write(tmp_path, "less", 1, shapes=fewer(support.SHAPES)),
    ]
    found = compare(CompareJob(job_id="c1", adapters=folders), silent)
    whole = []
    for folder in folders:
        updates = read(folder).updates
        parts = [
            dense(updates[module]).reshape(-1)
            if module in updates
            else torch.zeros(shape[0] * shape[1]).double()
            for module, shape in support.SHAPES.items()
        ]
        whole.append(torch.cat(parts))
    assert found.norms == pytest.approx([float(each.norm()) for each in whole])
    for i, one in enumerate(whole):
        for j, other in enumerate(whole):
            wanted = float(one @ other / one.norm() / other.norm())
            assert found.cosines[i][j] == pytest.approx(wanted, abs=1e-6)
    assert found.cosines[0][2] > 0.5 > abs(found.cosines[0][1])


def test_an_adapter_that_changes_nothing_is_like_no_other(tmp_path: Path) -> None:
    folders = [write(tmp_path, "one", 1), write(tmp_path, "none", 2, lora_alpha=0)]
    found = compare(CompareJob(job_id="c1", adapters=folders), silent)
    assert found.norms[1] == 0 and found.cosines[0][1] == 0
