"""Requests as prompt text, from a model folder's own chat template. Imports no tokenizer.

The text is what Transformers' `apply_chat_template` makes of the same messages; the server
tokenizes it with the model's own tokenizer. A message's content cannot spell a special token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rune_engine.errors import InvalidInputError
from rune_engine.inference.provider import ChatMessage, GenerationRequest

_EXTRA = "extra_special_tokens"
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How one base model wants to be spoken to.

    `special` holds every special token's spelling; `stop_ids` the tokens that end an answer.
    """

    template: jinja2.Template | None
    named: Mapping[str, str]
    special: tuple[str, ...]
    stop_ids: tuple[int, ...]

    def prompt(self, request: GenerationRequest) -> str:
        """The text to complete.

        Raises:
            InvalidInputError: the model has no chat template, or it refuses the messages.
        """
        if request.prompt is not None:
            return request.prompt
        if self.template is None:
            raise InvalidInputError(
                "This base model has no chat template.",
                next_step="Send a raw prompt, or use a model that was made for conversations.",
            )
        try:
            return self.template.render(
                messages=self._chat(request.messages), add_generation_prompt=True, **self.named
            )
        except jinja2.TemplateError as error:
            raise InvalidInputError(f"The chat template refuses the messages: {error}") from error

    def _chat(self, messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
        return [{"role": m.role, "content": self._without_special(m.content)} for m in messages]

    def _without_special(self, content: str) -> str:
        for token in self.special:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        return content


def read_chat_format(folder: Path) -> ChatFormat:
    """Read it from a folder that Transformers loads. Blocks: a tokenizer file has megabytes."""
    settings = _read(folder / "tokenizer_config.json")
    added = {t["content"]: t for t in _read(folder / "tokenizer.json").get("added_tokens", [])}
    named = {name: _spelling(settings[name]) for name in _NAMED if settings.get(name)}
    extra = [*_listed(settings, "additional_special_tokens"), *_listed(settings, _EXTRA)]
    special = {token for token, entry in added.items() if entry.get("special")}
    special |= {*named.values(), *map(_spelling, extra)}
    source = _template_source(folder, settings)
    return ChatFormat(
        template=_environment().from_string(source) if source else None,
        named=named,
        special=tuple(sorted((t for t in special if len(t) > 1), key=len, reverse=True)),
        stop_ids=_stop_ids(folder, added, named),
    )


def _stop_ids(folder: Path, added: Mapping[str, Any], named: Mapping[str, str]) -> tuple[int, ...]:
    """What the model's generation settings and its tokenizer name as the end of an answer."""
    configured = _read(folder / "generation_config.json").get("eos_token_id")
    if configured is None:
        configured = _read(folder / "config.json").get("eos_token_id")
    listed = configured if isinstance(configured, list) else [configured]
    of_tokenizer = added.get(named.get("eos_token", ""), {}).get("id")
    return tuple(sorted({int(token) for token in [*listed, of_tokenizer] if token is not None}))


def _template_source(folder: Path, settings: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    given = settings.get("chat_template")
    if isinstance(given, list):
        return next((str(t["template"]) for t in given if t["name"] == "default"), None)
    return str(given) if given else None


def _environment() -> ImmutableSandboxedEnvironment:
    """As Transformers sets it up: templates are written for exactly this."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own way to name them

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _listed(settings: Mapping[str, Any], key: str) -> list[Any]:
    found = settings.get(key) or []
    return list(found.values() if isinstance(found, dict) else found)


def _spelling(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _read(file: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no such file."""
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{file} cannot be read: {error}", next_step="Fetch the base model again."
        ) from error
    return value if isinstance(value, dict) else {}
