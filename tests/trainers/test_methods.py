"""QLoRA and QDoRA as the engine runs them, and what is said where they cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from training_support import BASE, job_file, train
from transformers import AutoModelForCausalLM

from rune_engine.errors import MissingExtraError
from trainers import lora, packed

pytest.importorskip("bitsandbytes")


@pytest.fixture(scope="module", params=["qlora", "qdora"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    code, events = train(job_file(folder, method=request.param, max_steps=6))
    assert code == 0, events[-1]
    return request.param, folder / "out", events[-1]


def test_what_was_learnt_shows_on_tasks_that_were_kept_back(
    trained: tuple[str, Path, dict[str, Any]],
) -> None:
    method, _, result = trained
    assert result["method"] == method
    assert result["kept_back_loss"] < result["kept_back_loss_before"]
    assert result["delta_w_norm"] > 0
    assert result["estimated_memory_bytes"] > 0


def test_the_adapter_is_of_its_kind_and_loads_with_peft(
    trained: tuple[str, Path, dict[str, Any]],
) -> None:
    method, out, result = trained
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["use_dora"] is (method == "qdora")
    names = load_file(out / "adapter_model.safetensors")
    assert any("lora_magnitude_vector" in name for name in names) is (method == "qdora")
    base = AutoModelForCausalLM.from_pretrained(BASE.path, dtype=torch.float32)
    before = base(torch.arange(20).unsqueeze(0)).logits.clone()
    model = PeftModel.from_pretrained(base, out)
    assert not torch.allclose(before, model(torch.arange(20).unsqueeze(0)).logits)
    assert lora.delta_w_norm(model) == pytest.approx(result["delta_w_norm"], rel=0.2)


def test_four_bits_hold_the_linear_layers_and_nothing_else() -> None:
    base = lora.load_base(str(BASE.path), "cpu", "qlora")
    for name, module in base.named_modules():
        if isinstance(module, torch.nn.Linear):
            quantised = name != "lm_head"
            assert (getattr(module.weight, "quant_state", None) is not None) is quantised, name
    layer = base.model.layers[0].mlp.down_proj
    state = layer.weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)
    exact = lora.load_base(str(BASE.path), "cpu").model.layers[0].mlp.down_proj.weight
    error = (packed.weight_of(layer)().float() - exact.float()).norm() / exact.float().norm()
    assert 0.0 < float(error) < 0.15


def test_the_norm_of_a_dora_is_that_of_the_whole_change() -> None:
    from training_networks import adapted

    model = adapted("qwen2", ["q_proj", "down_proj"], "qdora")
    wanted = 0.0
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "down_proj")):
            before = module.get_base_layer().weight.clone()
            after = (module.get_delta_weight("default") + before).float()
            magnitude = module.lora_magnitude_vector["default"].weight
            after *= (magnitude / after.norm(dim=1)).unsqueeze(1)
            wanted += float((after - before).square().sum())
    assert lora.delta_w_norm(model) == pytest.approx(wanted**0.5, rel=1e-4)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rune_engine.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        lora.load_base(str(BASE.path), "cpu", "qlora")
    assert "bitsandbytes" in caught.value.message and "[qlora]" in caught.value.next_step
