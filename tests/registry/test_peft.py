"""Any PEFT tool loads an adapter's folder; Rune's code is not needed for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from adapter_files import draft

from rune_engine.config import RuneConfig
from rune_engine.registry import AdapterRegistry, AdapterWeights

pytest.importorskip("peft")
pytest.importorskip("transformers")

MAKE = """
import sys, torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM
torch.manual_seed(0)
model = Qwen2ForCausalLM(Qwen2Config(
    vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32))
model.save_pretrained(sys.argv[1] + "/base")
model = get_peft_model(model, LoraConfig(
    r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"))
for name, parameter in model.named_parameters():
    if "lora_" in name:
        torch.nn.init.normal_(parameter)
model.save_pretrained(sys.argv[1] + "/trained")
logits = model.eval()(torch.arange(8)[None]).logits
save_file({"logits": logits}, sys.argv[1] + "/logits.safetensors")
"""
LOAD = """
import sys, torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import Qwen2ForCausalLM
base = Qwen2ForCausalLM.from_pretrained(sys.argv[1] + "/base").eval()
tokens = torch.arange(8)[None]
plain = base(tokens).logits
expected = load_file(sys.argv[1] + "/logits.safetensors")["logits"]
adapted = PeftModel.from_pretrained(base, sys.argv[2]).eval()(tokens).logits
assert torch.allclose(adapted, expected, atol=1e-5), (adapted - expected).abs().max()
assert not torch.allclose(adapted, plain, atol=1e-2), "the adapter changes something"
assert not any(name.startswith("rune_engine") for name in sys.modules)
print("same")
"""


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, cwd=arguments[0]
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_peft_loads_a_stored_adapter_and_it_does_what_it_did(
    registry: AdapterRegistry, config: RuneConfig, tmp_path: Path
) -> None:
    run(MAKE, str(tmp_path))
    trained = tmp_path / "trained"
    lora = json.loads((trained / "adapter_config.json").read_text())
    stored = registry.store(draft(), AdapterWeights(trained / "adapter_model.safetensors", lora))
    assert stored.rank == 4
    folder = registry.verified_ref(stored.id).path
    assert run(LOAD, str(tmp_path), str(folder)).strip().endswith("same")
