"""Prompt templates, one file a prompt, and the loader. Nothing here knows the rest of Rune.

The agent loop and the trainers both build their conversations with `conversation`, so that an
adapter is taught in exactly the words in which it will be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["conversation", "render"]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("prompts", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,
    )


def render(name: str, **variables: object) -> str:
    """Render `templates/{name}.jinja`.

    Raises:
        jinja2.TemplateNotFound: no such template.
        jinja2.UndefinedError: a variable that the template needs is missing.
    """
    return _environment().get_template(f"{name}.jinja").render(**variables)


def conversation(
    task_description: str, failed: Sequence[tuple[str, str]] = ()
) -> list[dict[str, str]]:
    """The messages that ask for a solution, after the attempts in `failed`.

    Args:
        task_description: what the user wants.
        failed: earlier attempts, oldest first, as (code, error output).

    Returns:
        Messages with `role` and `content`, ending with the user's.
    """
    messages = [
        {"role": "system", "content": render("system")},
        {"role": "user", "content": render("task", task_description=task_description)},
    ]
    for code, output in failed:
        messages.append({"role": "assistant", "content": render("answer", code=code)})
        messages.append({"role": "user", "content": render("repair", output=output)})
    return messages
