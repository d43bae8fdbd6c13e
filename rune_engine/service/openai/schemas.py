"""The requests of OpenAI's API, as far as Rune reads them; unknown fields are left alone.

What an answer could not honour although its caller relies on it is refused: pictures, JSON
schemas, forced tool calls, alternatives of each token. What is a preference only (penalties, tools
that the model may use) is ignored, and the answer names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from rune_engine.models import Text
from rune_engine.service.openai.refusals import Refusal

MOST_CHOICES = 16
MOST_MESSAGES = 10_000
DEFAULT_CHAT_TOKENS = 4096
"""An answer may be a whole file; the model's end token or its context ends it earlier."""
DEFAULT_COMPLETION_TOKENS = 16

_MOST_TOKENS = 1_000_000
_MOST_STOPS = 256
"""OpenAI allows four; Continue's completions send more."""
_UNLIMITED = -1

Stop = Annotated[str, StringConstraints(max_length=1000)]


class Lenient(BaseModel):
    """Clients send fields of their own and of next year's API: tolerated, and not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ContentPart(Lenient):
    """A part of a message; only text can be read by a local code model."""

    type: str
    text: Text | None = None


class Message(Lenient):
    """One message of a chat, of any client's age: `tool` and `function` are results of calls."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | Annotated[list[ContentPart], Field(max_length=MOST_MESSAGES)] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class StreamOptions(Lenient):
    include_usage: bool | None = None


class Completion(Lenient):
    """What both kinds of completions ask; null stands for a field that was left out."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    max_tokens: Annotated[int, Field(ge=_UNLIMITED, le=_MOST_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    seed: int | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=_MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings; an empty one would end every answer before it began."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in given if stop)

    @property
    def token_limit(self) -> int:
        """The most tokens of one answer."""
        return self._limit(self.max_tokens, DEFAULT_CHAT_TOKENS)

    @staticmethod
    def _limit(wanted: int | None, default: int) -> int:
        if wanted == _UNLIMITED:
            return DEFAULT_CHAT_TOKENS
        return default if wanted is None else wanted

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def ignored(self) -> list[str]:
        """The fields that were given and do not change the answer, by name."""
        return list(self._ignored())

    def check(self) -> None:
        """Refuse what an answer could not honour.

        Raises:
            Refusal: with the name of the field.
        """
        if self.max_tokens == 0:
            raise Refusal("max_tokens must be at least 1.", param="max_tokens")

    def _ignored(self) -> Iterator[str]:
        for name in ("frequency_penalty", "presence_penalty", "logit_bias"):
            if getattr(self, name):
                yield name


class ChatRequest(Completion):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=_UNLIMITED, le=_MOST_TOKENS)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None

    @property
    def token_limit(self) -> int:
        newer = self.max_completion_tokens
        return self._limit(self.max_tokens if newer is None else newer, DEFAULT_CHAT_TOKENS)

    def check(self) -> None:
        super().check()
        if self.max_completion_tokens == 0:
            raise Refusal("It must be at least 1.", param="max_completion_tokens")
        if self.top_logprobs:
            raise _unsupported(
                "top_logprobs", "only the chosen tokens' log-probabilities are known"
            )
        for name in ("tool_choice", "function_call"):
            if getattr(self, name) not in (None, "none", "auto"):
                raise _unsupported(name, "the local model calls no tools")
        if self.response_format and self.response_format.get("type") not in (None, "text"):
            raise _unsupported("response_format", "the form of an answer cannot be promised")
        if self.modalities and self.modalities != ["text"]:
            raise _unsupported("modalities", "answers are text")

    def _ignored(self) -> Iterator[str]:
        yield from super()._ignored()
        for name in ("tools", "functions"):
            if getattr(self, name):
                yield name


class CompletionRequest(Completion):
    """The body of `POST /v1/completions`: text that is continued as it is, without a template."""

    prompt: Text | Annotated[list[Any], Field(min_length=1, max_length=MOST_CHOICES)]
    logprobs: int | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None

    @property
    def token_limit(self) -> int:
        return self._limit(self.max_tokens, DEFAULT_COMPLETION_TOKENS)

    @property
    def prompts(self) -> tuple[str, ...]:
        given = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return tuple(str(prompt) for prompt in given)

    def check(self) -> None:
        super().check()
        if not isinstance(self.prompt, str) and not all(isinstance(p, str) for p in self.prompt):
            raise _unsupported("prompt", "give text, or a list of texts, not token ids")
        if len(self.prompts) * (self.n or 1) > MOST_CHOICES:
            raise Refusal(f"At most {MOST_CHOICES} answers at once.", param="n")
        if (self.logprobs or 0) > 1:
            raise _unsupported("logprobs", "only the chosen tokens' log-probabilities are known")
        if self.suffix:
            raise _unsupported(
                "suffix", "put the model's own fill-in-the-middle tokens in the prompt"
            )
        if self.echo:
            raise _unsupported("echo", "the prompt is not sent back")
        if (self.best_of or 1) > (self.n or 1):
            raise _unsupported("best_of", "every answer that is made is sent; use n")


def _unsupported(param: str, why: str) -> Refusal:
    return Refusal(f"{param} is not supported: {why}.", param=param, code="unsupported_parameter")
