"""A Qwen2 tokenizer folder as GGUF keys. Knows JSON; neither `tokenizers` nor Transformers.

llama.cpp splits text by a name ("qwen2"), not by the file's own regular expression: another split
under that name would give wrong tokens without an error, so it is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rune_engine.errors import InvalidInputError
from rune_engine.gguf import keys

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tokenizer_keys(folder: Path, vocabulary: int, stop_ids: list[int]) -> dict[str, Any]:
    """The tokenizer of a base model folder as values for `tensors.write`.

    Args:
        vocabulary: rows of the embedding; what the tokenizer leaves unnamed is padding.
        stop_ids: tokens that end an answer, as the model's configuration says.

    Raises:
        InvalidInputError: it is not a Qwen2 tokenizer, or damaged.
    """
    told = read_json(folder / "tokenizer.json")
    settings = read_json(folder / "tokenizer_config.json")
    try:
        return _keys(folder, told, settings, vocabulary, stop_ids)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise refused(f"its tokenizer.json cannot be understood ({error!r})") from error


def _keys(
    folder: Path, told: dict[str, Any], settings: dict[str, Any], vocabulary: int, stop: list[int]
) -> dict[str, Any]:
    _check_is_qwen2(told, settings)
    tokens, types = _tokens(told, vocabulary)
    ids = {token: index for index, token in enumerate(tokens)}
    ends = sorted({*stop, *_ids(settings, "eos_token", ids)})
    if not ends or ends[-1] >= len(tokens):
        raise refused("it does not say which token ends an answer")
    first = _ids(settings, "eos_token", ids) or ends
    values: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": tuple(types),
        "tokenizer.ggml.merges": [_merge(merge) for merge in told["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": first[0],
        "tokenizer.ggml.add_bos_token": False,
        keys.STOP_IDS: ends,
    }
    if padding := _ids(settings, "pad_token", ids):
        values["tokenizer.ggml.padding_token_id"] = padding[0]
    if template := _chat_template(folder, settings):
        values["tokenizer.chat_template"] = template
    return values


def _check_is_qwen2(told: dict[str, Any], settings: dict[str, Any]) -> None:
    model, split = told["model"], told.get("pre_tokenizer") or {}
    parts = split.get("pretokenizers", [split])
    patterns = [part["pattern"].get("Regex") for part in parts if part.get("type") == "Split"]
    if model.get("type") != "BPE" or model.get("byte_fallback") or model.get("unk_token"):
        raise refused("its tokenizer is not a byte-level BPE")
    if not any(part.get("type") == "ByteLevel" for part in parts):
        raise refused("its tokenizer does not work on bytes")
    if any(part.get("add_prefix_space") for part in parts):
        raise refused("its tokenizer puts a space before the text")
    if patterns != [QWEN2_SPLIT]:
        raise refused("its tokenizer does not split text as Qwen2 does")
    if (told.get("normalizer") or {}).get("type") != "NFC":
        raise refused("its tokenizer does not normalise text to NFC")
    if settings.get("add_bos_token"):
        raise refused("its tokenizer begins every text with a token")


def _tokens(told: dict[str, Any], vocabulary: int) -> tuple[list[str], list[int]]:
    tokens: list[str | None] = [None] * vocabulary
    types = [UNUSED] * vocabulary
    for token, index in told["model"]["vocab"].items():
        tokens[index], types[index] = token, NORMAL
    for added in told.get("added_tokens", []):
        if added.get("lstrip") or added.get("rstrip") or added.get("single_word"):
            raise refused(f"its token {added['content']} takes the space around it")
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    return [token or f"[PAD{index}]" for index, token in enumerate(tokens)], types


def _merge(merge: str | list[str]) -> str:
    return merge if isinstance(merge, str) else " ".join(merge)


def _ids(settings: dict[str, Any], name: str, ids: dict[str, int]) -> list[int]:
    told = settings.get(name)
    token = told.get("content") if isinstance(told, dict) else told
    return [ids[token]] if token in ids else []


def _chat_template(folder: Path, settings: dict[str, Any]) -> str | None:
    """The template that Transformers would use: a file of its own, else the configuration's."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    told = settings.get("chat_template")
    if isinstance(told, list):
        told = {entry["name"]: entry["template"] for entry in told}.get("default")
    return told if isinstance(told, str) else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InvalidInputError: it is missing, or none.
    """
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise refused(f"its {path.name} cannot be read ({error})") from error
    if not isinstance(told, dict):
        raise refused(f"its {path.name} is not an object")
    return told


def refused(reason: str) -> InvalidInputError:
    """Why a base model is not written as GGUF."""
    return InvalidInputError(
        f"The base model cannot be written as GGUF: {reason}.",
        next_step="Serve it with the Transformers back-end, or name a .gguf file of it.",
    )
