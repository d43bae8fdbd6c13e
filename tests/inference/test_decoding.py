"""Decoding beside Transformers' own `generate`, for models that remember in other ways."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from rune_engine.inference.decoding import Decoder  # noqa: E402
from rune_engine.inference.lora import LoraLayers  # noqa: E402
from rune_engine.inference.prefixes import Prefixes  # noqa: E402
from rune_engine.inference.provider import GenerationRequest  # noqa: E402
from rune_engine.inference.rows import Row  # noqa: E402

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "eos_token_id": None,
    "bos_token_id": None,
}
HYBRID = ["linear_attention", "full_attention", "linear_attention"]
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "a sliding window on every layer": ("MistralConfig", {"sliding_window": 8}),
    "a sliding window on some layers": (
        "Qwen3Config",
        {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "no rotary positions": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "states that are no keys and values": ("Qwen3NextConfig", {"layer_types": HYBRID}),
}


class Numbers:
    """A vocabulary whose tokens are their numbers; none of them ends a completion."""

    stop_ids: frozenset[int] = frozenset()

    def text(self, tokens: Sequence[int]) -> str:
        return " ".join(map(str, tokens))


def made(name: str) -> Any:
    config_class, settings = MODELS[name]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    given = settings if config_class == "GPT2Config" else SMALL | settings
    config = getattr(transformers, config_class)(
        **given, **({"vocab_size": 97, "eos_token_id": None} if given is settings else {})
    )
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


@pytest.mark.parametrize("name", MODELS)
def test_rows_that_come_and_go_get_what_generate_gives_each_alone(name: str) -> None:
    model = made(name)
    chosen = random.Random(1)
    prompts = [[chosen.randrange(1, 97) for _ in range(n)] for n in (3, 30, 12, 31, 12)]
    decoder = Decoder(model, LoraLayers(model, torch.float32), Prefixes(2**20))
    lengths = (20, 6, 14, 9, 3)
    rows = [
        Row(GenerationRequest(prompt="-"), None, prompt, most, Numbers(), lambda: False)
        for prompt, most in zip(prompts, lengths, strict=True)
    ]
    waiting, ended = list(rows), 0
    while ended < len(rows):
        if waiting and len(decoder.rows) < decoder.most_rows:
            decoder.add(waiting.pop(0), None)
        ended += len(decoder.step())
    for row in rows:
        ids = torch.tensor([row.prompt])
        alone = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=row.limit,
            pad_token_id=0,
        )
        assert row.tokens == alone[0, len(row.prompt) :].tolist()
