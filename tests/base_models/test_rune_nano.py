"""The base model that ships: its size, its tokenizer, and what it can do alone."""

from __future__ import annotations

import pytest

import base_models

pytest.importorskip("torch")

FOLDER = base_models.describe("rune-nano").path


def test_it_is_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) <= 32 * 1024**2
    assert (FOLDER / "README.md").is_file()


def test_transformers_tokenizes_as_the_file_says() -> None:
    """Transformers overrides what a Qwen2 tokenizer file asks for; ours asks for the same."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(FOLDER)
    raw = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    texts = [
        "In sorima: keep the even numbers, then sum them.",
        "def f(xs):\n\n    return [x * 2 for x in xs]  # 12345\t\n",
        "cafe\u0301 \u4f60\u597d don't  stop\r\n\r\n  end ",
    ]
    for text in texts:
        assert loaded.encode(text, add_special_tokens=False) == raw.encode(text).ids
        assert loaded.decode(loaded.encode(text)) == raw.decode(raw.encode(text).ids)


def test_the_chat_template_is_chatml() -> None:
    from transformers import AutoTokenizer

    text = AutoTokenizer.from_pretrained(FOLDER).apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        base_models.describe("no-such-model")
