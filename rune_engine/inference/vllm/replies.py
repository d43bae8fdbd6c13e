"""What a vLLM server answers, as our own words and errors. Knows its JSON; sends nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rune_engine.errors import (
    AdapterUnsupportedError,
    BackendUnavailableError,
    ContextTooLongError,
    InferenceError,
    InvalidInputError,
    RuneError,
)
from rune_engine.inference.provider import Generation

Json = dict[str, Any]

_UNSUPPORTED = re.compile(
    r"max_lora_rank|does not (yet )?support|is not supported|expected\s+target modules"
    r"|unsupported LoRA weight|modules_to_save"
)
_TOO_LONG = re.compile(r"maximum (model|context) length|max_model_len|longer than the maximum")
_DEAD = re.compile(r"EngineCore|EngineDead")


class UnknownModelError(Exception):
    """The server does not know the model's or adapter's name; never leaves this package."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One line of `/v1/models`: a base model, or an adapter, which has a `parent`."""

    name: str
    root: str
    parent: str | None
    context: int | None


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server was started with; None is unknown."""

    max_rank: int | None = None
    max_cpu_adapters: int | None = None
    device: str | None = None


def served_models(body: Json) -> list[ServedModel]:
    return [
        ServedModel(
            name=str(card["id"]),
            root=str(card.get("root") or ""),
            parent=card.get("parent"),
            context=card.get("max_model_len"),
        )
        for card in body["data"]
    ]


def server_facts(body: Json) -> ServerFacts:
    """From `/server_info`.

    Raises:
        InvalidInputError: the server was started without LoRA.
    """
    config = body["vllm_config"]
    lora = config.get("lora_config")
    if lora is None:
        raise InvalidInputError(
            "The vLLM server was started without --enable-lora.",
            next_step="Start it with `rune vllm serve`.",
        )
    device = config.get("device_config", {}).get("device")
    return ServerFacts(
        lora.get("max_lora_rank"), lora.get("max_cpu_loras"), str(device) if device else None
    )


def generation(body: Json, adapter_id: str | None) -> Generation:
    """A whole `/v1/completions` answer.

    Raises:
        BackendUnavailableError: the server gave up half-way, as it does when it is put to sleep.
    """
    answer = StreamedAnswer(adapter_id)
    answer.add(body)
    return answer.generation()


class StreamedAnswer:
    """Puts the events of a streamed `/v1/completions` together."""

    def __init__(self, adapter_id: str | None) -> None:
        self._adapter_id = adapter_id
        self._pieces: list[str] = []
        self._logprobs: list[float] = []
        self._reason: str | None = None
        self._usage: Json = {}

    def add(self, event: Json) -> str:
        """Take one event in; its text, if it has some."""
        if event.get("usage"):
            self._usage = event["usage"]
        text = ""
        for choice in event["choices"]:
            text += choice["text"]
            self._reason = choice.get("finish_reason") or self._reason
            self._logprobs += (choice.get("logprobs") or {}).get("token_logprobs", ())
        self._pieces.append(text)
        return text

    def generation(self) -> Generation:
        """The whole answer.

        Raises:
            BackendUnavailableError: the server gave up half-way.
        """
        if self._reason not in ("stop", "length") or not self._usage:
            raise BackendUnavailableError(
                f"The vLLM server ended a generation early: {self._reason}.",
                next_step="Try again; it may have been put to sleep or stopped.",
            )
        return Generation(
            text="".join(self._pieces),
            finish_reason="stop" if self._reason == "stop" else "length",
            prompt_tokens=self._usage["prompt_tokens"],
            completion_tokens=self._usage["completion_tokens"],
            adapter_id=self._adapter_id,
            token_logprobs=tuple(self._logprobs),
        )


def message_of(body: object) -> str:
    """The sentence in an error's body, whichever of the server's forms it has."""
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, dict):
            return str(error.get("message") or error.get("detail") or error)
        return str(error)
    return str(body)


def to_error(status: int, body: object) -> Exception:
    """The error that an answer with this HTTP status means."""
    said = message_of(body)
    if status == 404 and "does not exist" in said:
        return UnknownModelError(said)
    if _DEAD.search(said):
        return BackendUnavailableError(
            f"The vLLM server's engine has died: {said}",
            next_step="Start it again with `rune vllm serve`; its own log has the cause.",
        )
    if status in (400, 422) and _TOO_LONG.search(said):
        return ContextTooLongError(
            f"The prompt is longer than the server's context: {said}",
            next_step="Shorten the task description, or serve with more --context.",
        )
    if status in (400, 422):
        return InvalidInputError(f"The vLLM server refused the request: {said}")
    return InferenceError(
        f"The vLLM server answered {status}: {said}", next_step="Its own log has the cause."
    )


def to_load_error(adapter_id: str, status: int, body: object) -> RuneError:
    """Why an adapter was not loaded; the server says 500 for most of its refusals."""
    said = message_of(body)
    if _UNSUPPORTED.search(said):
        return AdapterUnsupportedError(
            f"vLLM cannot serve adapter {adapter_id}: {said}",
            next_step="Serve it with the Transformers back-end, or start the server with "
            "room for it: `rune vllm serve --max-rank`.",
        )
    if status == 404 and "No adapter found" in said:
        return InferenceError(
            f"The vLLM server cannot read the files of adapter {adapter_id}.",
            next_step="It must run on this machine, as this user, and see $RUNE_HOME.",
        )
    if status == 404:
        return InferenceError(
            "The vLLM server cannot load adapters while it runs.",
            next_step="Start it with `rune vllm serve`, or set "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora.",
        )
    error = to_error(status, body)
    return error if isinstance(error, RuneError) else InferenceError(str(error))
