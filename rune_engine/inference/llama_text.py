"""Text to a GGUF model's tokens and back: its tokenizer, its chat template, its special tokens.

The tokens are those of the Transformers tokenizer that the file was made of.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property

import jinja2

from rune_engine.errors import InvalidInputError
from rune_engine.gguf import keys
from rune_engine.gguf.chat import chat_template
from rune_engine.gguf.reading import Gguf
from rune_engine.gguf.tokenizers import CONTROL
from rune_engine.inference.llama_native import NativeModel
from rune_engine.inference.provider import ChatMessage, GenerationRequest

_TEMPLATE = "tokenizer.chat_template"
_NFC = ("qwen2",)
"""Tokenizers, by their GGUF name, that see normalised text; llama.cpp leaves that to its caller."""


class LlamaText:
    """The `Vocabulary` of a GGUF model.

    Args:
        header: of the file that `model` was loaded from.
    """

    def __init__(self, model: NativeModel, header: Gguf) -> None:
        self._model = model
        self._keys = header.keys
        self._pieces: dict[int, bytes] = {}

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        if told := self._keys.get(keys.STOP_IDS):
            return frozenset(told)
        everything = range(self._model.vocabulary_size)
        return frozenset(token for token in everything if self._model.ends_answer(token))

    def text(self, tokens: Sequence[int]) -> str:
        return b"".join(self._piece(token) for token in tokens).decode(errors="replace")

    def tokens(self, request: GenerationRequest) -> list[int]:
        """The prompt of a request.

        Raises:
            InvalidInputError: it is empty, or the model's chat template refuses it.
        """
        text = request.prompt if request.prompt is not None else self._rendered(request.messages)
        if self._keys.get("tokenizer.ggml.pre") in _NFC:
            text = unicodedata.normalize("NFC", text)
        tokens = self._model.tokens(text, special=True)
        if not tokens:
            raise InvalidInputError("The prompt is empty.", next_step="Give it some text.")
        if self._keys.get("tokenizer.ggml.add_bos_token"):
            return self._with_first(tokens)
        return tokens

    def _with_first(self, tokens: list[int]) -> list[int]:
        first = self._keys.get("tokenizer.ggml.bos_token_id")
        return tokens if first is None or tokens[0] == first else [first, *tokens]

    def _piece(self, token: int) -> bytes:
        if token not in self._pieces:
            self._pieces[token] = self._model.piece(token)
        return self._pieces[token]

    def _rendered(self, messages: Sequence[ChatMessage]) -> str:
        chat = [{"role": m.role, "content": self._without_special(m.content)} for m in messages]
        try:
            return self._template.render(
                messages=chat, add_generation_prompt=True, **self._named_tokens
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"The model's chat template cannot take these messages: {error}",
                next_step="Most templates want user and assistant messages in turn.",
            ) from error

    def _without_special(self, content: str) -> str:
        """Content cannot spell a special token, so it cannot end its turn or forge another."""
        for token in self._special:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        return content

    @cached_property
    def _special(self) -> list[str]:
        tokens = self._keys["tokenizer.ggml.tokens"]
        types = self._keys.get("tokenizer.ggml.token_type", [])
        named = zip(tokens, types, strict=False)
        return [token for token, kind in named if kind == CONTROL and len(token) > 1]

    @cached_property
    def _named_tokens(self) -> dict[str, str]:
        """What templates call special tokens by, such as `eos_token`."""
        tokens = self._keys["tokenizer.ggml.tokens"]
        ids = {name: self._keys.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
        ids["pad"] = self._keys.get("tokenizer.ggml.padding_token_id")
        return {f"{name}_token": tokens[index] for name, index in ids.items() if index is not None}

    @cached_property
    def _template(self) -> jinja2.Template:
        source = self._keys.get(_TEMPLATE)
        if source is None:
            raise InvalidInputError(
                "This model has no chat template.", next_step="Send a raw prompt, or another model."
            )
        return chat_template(source)
