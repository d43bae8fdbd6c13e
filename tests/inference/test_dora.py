"""DoRA: answered with exactly by Transformers, refused with the reason by every other back-end."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from inference_support import BASE_MODEL_ID  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from rune_engine.errors import AdapterCorruptedError, AdapterUnsupportedError  # noqa: E402
from rune_engine.inference.adapter_files import (  # noqa: E402
    AdapterReader,
    check_adapter,
    check_config,
)
from rune_engine.inference.adapter_store import AdapterStore  # noqa: E402
from rune_engine.inference.lora import LoraLayers, Part  # noqa: E402
from rune_engine.inference.provider import AdapterRef  # noqa: E402

MODULES = ["q_proj", "down_proj"]
"""One with a bias, which DoRA does not rescale, and one without."""


@pytest.fixture(scope="module")
def dora(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    torch.manual_seed(3)
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=MODULES, use_dora=True)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base_folder), settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
        if "lora_magnitude_vector" in name:
            parameter.data *= 1.0 + torch.rand_like(parameter)
    folder = tmp_path_factory.mktemp("adapter") / "dora"
    model.save_pretrained(folder)
    return AdapterRef("dora", folder, hashed(folder), BASE_MODEL_ID)


def hashed(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def base_model(base_folder: Path) -> Any:
    """In float32, with biases that are not zero."""
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_pretrained(base_folder).eval()
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.self_attn.q_proj.bias)
    return model


@torch.no_grad()
def test_transformers_answers_as_peft_does(base_folder: Path, dora: AdapterRef) -> None:
    ids = torch.arange(5, 45).unsqueeze(0)
    expected = peft.PeftModel.from_pretrained(base_model(base_folder), dora.path).eval()(ids).logits
    model = base_model(base_folder)
    plain = model(ids).logits
    layers = LoraLayers(model, torch.float32)
    store = AdapterStore(layers, budget=0)
    key = store.acquire(dora)
    layers.select([Part(key)])
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)
    layers.select([Part(key, slice(1, 2))])
    both = model(ids.expand(2, -1)).logits
    torch.testing.assert_close(both[0], plain[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both[1], expected[0], rtol=1e-4, atol=1e-4)
    layers.select([])
    torch.testing.assert_close(model(ids).logits, plain)
    store.release(key)
    assert store.ids == []


def test_whoever_cannot_run_it_says_so(dora: AdapterRef) -> None:
    for refuse in (check_adapter, check_config):
        with pytest.raises(AdapterUnsupportedError, match="DoRA") as caught:
            refuse(dora)
        assert "Transformers" in caught.value.message and "qlora" in caught.value.next_step
    assert check_config(dora, dora=True).use_dora


def test_a_dora_without_its_magnitudes_is_damaged(adapter_b: AdapterRef, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for file in adapter_b.path.iterdir():
        text = file.read_bytes().replace(b'"use_dora": false', b'"use_dora": true')
        (folder / file.name).write_bytes(text)
    broken = AdapterRef("broken", folder, adapter_b.sha256, BASE_MODEL_ID)
    with pytest.raises(AdapterCorruptedError, match="lacks one of its matrices"):
        AdapterReader(dora=True).read(broken)
