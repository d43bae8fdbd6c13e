"""What the tests of llama.cpp share: PEFT adapters of every kind, and PEFT's own answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference_support import BASE_MODEL_ID

from rune_engine.inference.provider import AdapterRef

PROMPTS = [
    "def add(a, b):",
    "a much longer text, with punctuation; and\nlines\n\n    of code = [1, 22, 333]\n" * 6,
    "é✓ 漢字 🙂 e\u0301\r\n\t\x00 it's I'LL",
]


def save_adapter(
    base: Path,
    folder: Path,
    seed: int,
    *,
    std: float = 0.3,
    base_model_id: str = BASE_MODEL_ID,
    **settings: Any,
) -> AdapterRef:
    """A LoRA on all linear layers as PEFT saves it, with a B that is not zero but of `std`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": modules, **settings})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=std)
    model.save_pretrained(folder)
    digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    return AdapterRef(folder.name, folder, digest, base_model_id)


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "down-only": {"target_modules": ["down_proj"], "r": 2},
    "rslora": {"use_rslora": True, "r": 8},
    "patterns": {
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6},
        "alpha_pattern": {"down_proj": 3, "layers.0.self_attn.v_proj": 24},
    },
}


class Peft:
    """PEFT in float32, the reference of every back-end."""

    def __init__(self, base: Path, adapter: AdapterRef | None) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._torch = torch
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self._model = (PeftModel.from_pretrained(model, adapter.path) if adapter else model).eval()

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def greedy(self, text: str, count: int) -> tuple[str, list[float]]:
        """The greedy continuation, and each of its tokens' log-probability."""
        ids = self.tokens(text)
        start, logprobs = len(ids), []
        for _ in range(count):
            with self._torch.inference_mode():
                logits = self._model(self._torch.tensor([ids])).logits[0, -1]
            ids.append(int(logits.argmax()))
            logprobs.append(float(logits.log_softmax(-1)[ids[-1]]))
        return self.tokenizer.decode(ids[start:], skip_special_tokens=True), logprobs


def edit_json(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))))
