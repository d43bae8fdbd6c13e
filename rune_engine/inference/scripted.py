"""A back-end without a model: it answers from a script. For tests and demonstrations.

The script is JSON (a list of rules) or JSON Lines (one rule a line):

    {"contains": "add two numbers", "answers": ["first try", "second try"]}

The first rule whose `contains` is in the first or last user message answers; the n-th attempt
of a conversation gets the n-th answer, and the last answer repeats. A rule with `adapter_id`
answers only while that adapter is on, or any adapter at all where it is "*". Tokens are counted as
words between white space.

A folder with a `script.json` beside a `config.json` of model type "scripted" is a base model of its
own, so that adapters can be made for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rune_engine.errors import InferenceError, InvalidInputError
from rune_engine.inference.adapter_files import check_base_model, check_weights
from rune_engine.inference.provider import (
    AdapterRef,
    Generation,
    GenerationRequest,
    InferenceProvider,
    ProviderStatus,
)
from rune_engine.regular_files import read_regular

_WORD = re.compile(r"\S+")

MAX_SCRIPT_BYTES = 64 * 1024**2
SCRIPT_NAME = "script.json"
ANY_ADAPTER = "*"


class ScriptRule(BaseModel):
    """One rule of a script; `delay_seconds` is spent before the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contains: str
    answers: Annotated[list[str], Field(min_length=1)]
    adapter_id: str | None = None
    delay_seconds: Annotated[float, Field(ge=0)] = 0.0


_RULES = TypeAdapter(list[ScriptRule])


def read_script(path: Path) -> list[ScriptRule]:
    """Read a script file.

    Raises:
        InvalidInputError: it cannot be read or is not a script.
    """
    try:
        text = read_regular(path, MAX_SCRIPT_BYTES).decode("utf-8")
        if text.lstrip().startswith("["):
            return _RULES.validate_json(text)
        return [ScriptRule.model_validate_json(line) for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise InvalidInputError(
            f"The script {path} cannot be used: {_problem(error)}.",
            next_step='Write a list of {"contains": "...", "answers": ["..."]} as JSON.',
        ) from error


def _problem(error: OSError | UnicodeDecodeError | ValidationError) -> str:
    """What is wrong with a file, without a word of what is in it: it may be no script at all."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}".removeprefix(": ")
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or "?"


class ScriptedProvider(InferenceProvider):
    """Answers from a script file; deterministic, loads nothing."""

    name = "scripted"

    def __init__(self, script: Path, base_model_id: str = "scripted") -> None:
        self.base_model_id = base_model_id
        self._script = script
        self._rules = read_script(script)

    async def generate(
        self, requests: Sequence[GenerationRequest], *, adapter: AdapterRef | None = None
    ) -> list[Generation]:
        if adapter is not None:
            check_base_model(adapter, self.base_model_id)
            check_weights(adapter)
        return [await self._answer(request, adapter) for request in requests]

    def status(self) -> ProviderStatus:
        return ProviderStatus(name=self.name, base_model_id=self.base_model_id, loaded=True)

    async def close(self) -> None:
        """Nothing is held."""

    async def _answer(self, request: GenerationRequest, adapter: AdapterRef | None) -> Generation:
        adapter_id = adapter.id if adapter else None
        rule = self._rule(request, adapter_id)
        if rule.delay_seconds:
            await asyncio.sleep(rule.delay_seconds)
        attempt = sum(message.role == "assistant" for message in request.messages)
        text = _before_stop(rule.answers[min(attempt, len(rule.answers) - 1)], request.stop)
        cut = _first_words(text, request.max_tokens)
        return Generation(
            text=cut,
            finish_reason="stop" if cut == text else "length",
            prompt_tokens=sum(len(text.split()) for text in _asked(request)),
            completion_tokens=len(cut.split()),
            adapter_id=adapter_id,
        )

    def _rule(self, request: GenerationRequest, adapter_id: str | None) -> ScriptRule:
        asked = [m.content for m in request.messages if m.role == "user"]
        asked += [request.prompt] if request.prompt is not None else []
        for rule in self._rules:
            if _is_on(rule, adapter_id) and any(
                rule.contains in content for content in (*asked[:1], *asked[-1:])
            ):
                return rule
        task = asked[0][:80] if asked else ""
        raise InferenceError(
            f"No rule of the script {self._script} answers the task {task!r}.",
            next_step="Add a rule whose `contains` is part of the task.",
        )


def _asked(request: GenerationRequest) -> list[str]:
    return [m.content for m in request.messages] or [request.prompt or ""]


def _is_on(rule: ScriptRule, adapter_id: str | None) -> bool:
    if rule.adapter_id == ANY_ADAPTER:
        return adapter_id is not None
    return rule.adapter_id in (None, adapter_id)


def _before_stop(text: str, stop: Sequence[str]) -> str:
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]


def _first_words(text: str, limit: int) -> str:
    """`text` itself when it has at most `limit` words, else its first `limit` words."""
    words = list(islice(_WORD.finditer(text), limit + 1))
    return text if len(words) <= limit else text[: words[limit - 1].end()]
