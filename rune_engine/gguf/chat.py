"""A model's chat template, rendered as Transformers does. Knows Jinja."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

_SAMPLE = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "assistant", "content": "A"},
    {"role": "user", "content": "V"},
]


def chat_template(source: str) -> jinja2.Template:
    """The template, in a sandbox: it comes with the model, from anywhere.

    Raises:
        jinja2.TemplateError: it is none.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def is_chatml(source: str) -> bool:
    """Whether a template writes ChatML, as far as a conversation with a system message shows."""
    wanted = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in _SAMPLE)
    try:
        rendered = chat_template(source).render(messages=_SAMPLE, add_generation_prompt=True)
    except (jinja2.TemplateError, TypeError, ValueError):
        return False
    return rendered == wanted + "<|im_start|>assistant\n"


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
