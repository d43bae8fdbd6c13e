"""Which adapter folders may be loaded at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rune_engine.errors import AdapterCorruptedError
from rune_engine.inference.adapter_files import adapter_key, check_config
from rune_engine.inference.provider import AdapterRef

PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["down_proj"],
    "init_lora_weights": True,
    "bias": "none",
    "use_rslora": True,
    "use_dora": False,
    "layer_replication": None,
    "auto_mapping": {"base_model_class": "Qwen2ForCausalLM"},
}


def adapter_with(folder: Path, **changes: Any) -> AdapterRef:
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN | changes))
    return AdapterRef("a", folder, "0" * 64, "base")


def test_a_plain_lora_may_be_loaded(tmp_path: Path) -> None:
    check_config(adapter_with(tmp_path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("peft_type", "PREFIX_TUNING"),
        ("r", 0),
        ("r", True),
        ("lora_alpha", float("nan")),
        ("lora_alpha", "16"),
        ("target_modules", ".*"),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "olora"),
        ("bias", "all"),
        ("layer_replication", [[0, 2], [0, 2]]),
        ("modules_to_save", ["lm_head"]),
    ],
)
def test_anything_beyond_a_plain_lora_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(AdapterCorruptedError, match=key):
        check_config(adapter_with(tmp_path, **{key: value}))


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    adapter = adapter_with(tmp_path)
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(AdapterCorruptedError):
        check_config(adapter)


def test_equal_weights_in_two_folders_are_two_adapters(tmp_path: Path) -> None:
    one = AdapterRef("one", tmp_path / "one", "0" * 64, "base")
    two = AdapterRef("two", tmp_path / "two", "0" * 64, "base")
    assert adapter_key(one) != adapter_key(two)
    assert adapter_key(one) == adapter_key(AdapterRef("renamed", one.path, one.sha256, "base"))
