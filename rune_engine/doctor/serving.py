"""Whether the configured back-end serves, and whether an adapter on it gives the known output.

What PEFT says was computed by the probe; a back-end must say the same, as far as its precision
lets it, and the base model's own answer must be the same before and after. Starts no engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rune_engine.config import RuneConfig
from rune_engine.errors import (
    BaseModelNotFoundError,
    DeviceMemoryError,
    MissingExtraError,
    RuneError,
)
from rune_engine.inference.factory import create_provider
from rune_engine.inference.provider import (
    AdapterRef,
    ChatMessage,
    Generation,
    GenerationRequest,
    InferenceProvider,
)
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.models.probing import Check, KnownAdapter, KnownAnswer

SERVES, ADAPTED = "serving", "lora serving"

_ANSWER_SECONDS = 600.0
_TOKENS = 64
_MOST_DRIFT = 0.05
_TASK = "Write a Python function that adds two numbers."
_CANNOT_TRY = (MissingExtraError, BaseModelNotFoundError, DeviceMemoryError)


@dataclass(frozen=True, slots=True)
class Allowed:
    """How far a back-end may be from PEFT.

    `margin`: a token less certain than this, as a difference of log-probabilities to the next
    best, may come out otherwise. `difference`: of a token's log-probability.
    """

    margin: float
    difference: float


EXACT = Allowed(margin=0.01, difference=1e-3)
ROUNDED = Allowed(margin=0.4, difference=0.2)
QUANTISED = Allowed(margin=1.5, difference=1.5)


def allowed(config: RuneConfig) -> Allowed:
    """How close to PEFT the configured back-end has to be."""
    serving = config.serving
    if serving.precision == "nf4" or config.base_model.endswith(".gguf"):
        return QUANTISED
    # llama.cpp rounds what it has read to half precision, whatever the weights are.
    exact = serving.precision == "float32" and serving.backend != "llama"
    return EXACT if exact else ROUNDED


async def serving_checks(
    config: RuneConfig, known: KnownAdapter | Check, within: Allowed
) -> list[Check]:
    """Both lines: a real generation, then the known adapter.

    Args:
        known: what must come out, or why that is not known.
    """
    try:
        provider = create_provider(config.base_model, config)
    except RuneError as error:
        return [failed(SERVES, error), failed(ADAPTED, error)]
    if isinstance(provider, ScriptedProvider):
        detail, step = "the base model is a script", "Set RUNE_BASE_MODEL to a model."
        names = (SERVES, ADAPTED)
        return [_untried(name, detail, step) for name in names]
    try:
        return [await _serves(provider), await adapted(provider, known, within)]
    finally:
        await provider.close()


def failed(name: str, error: RuneError) -> Check:
    """What could not be tried is one thing, what was tried and went wrong another."""
    status = "untried" if isinstance(error, _CANNOT_TRY) else "problem"
    return Check.model_validate(
        {"name": name, "status": status, "detail": error.message, "next_step": error.next_step}
    )


async def _serves(provider: InferenceProvider) -> Check:
    try:
        first = await _timed(provider, _request(_TASK, 8))
        warm = await _timed(provider, _request(f"{_TASK} Name it add.", _TOKENS))
    except (RuneError, TimeoutError) as error:
        return _failure(SERVES, error)
    tokens = warm.generation.completion_tokens
    rate = tokens / warm.seconds
    detail = f"{provider.base_model_id} by {provider.name}: {tokens} tokens, {rate:.0f} a second"
    detail += f"; the first answer took {first.seconds:.1f} s"
    facts: dict[str, float | str] = {
        "backend": provider.name,
        "tokens_per_second": rate,
        "first_answer_seconds": first.seconds,
    }
    if tokens:
        return Check(name=SERVES, status="good", detail=detail, facts=facts)
    step = "See whether the base model's folder is whole, and made for chat."
    return Check(name=SERVES, status="problem", detail="it answered nothing", next_step=step)


async def adapted(
    provider: InferenceProvider, known: KnownAdapter | Check, within: Allowed
) -> Check:
    """What the provider says without the known adapter, with it, and without it again."""
    if isinstance(known, Check):
        return known.model_copy(update={"name": ADAPTED, "facts": {}})
    ref = AdapterRef("doctor", Path(known.path), known.sha256, known.base_model_id)
    base = _request(known.question, len(known.base.texts), logprobs=True)
    adapted = _request(known.question, len(known.adapted.texts), logprobs=True)
    try:
        before = (await _timed(provider, base)).generation
        with_it = (await _timed(provider, adapted, ref)).generation
        after = (await _timed(provider, base)).generation
    except (RuneError, TimeoutError) as error:
        return _failure(ADAPTED, error)
    wrong = [
        *_wrong("the base model", known.base, before, within),
        *_wrong("the adapter", known.adapted, with_it, within),
        *_wrong("the base model, after the adapter,", known.base, after, within),
    ]
    if before.text != after.text:
        wrong.append(
            f"the base model said {before.text!r} before the adapter, {after.text!r} after"
        )
    answers = ((known.base, before), (known.adapted, with_it), (known.base, after))
    worst = max((_worst(*answer, within) for answer in answers), default=0.0)
    return _verdict(provider, known, wrong, worst, bool(with_it.token_logprobs))


def _verdict(
    provider: InferenceProvider,
    known: KnownAdapter,
    wrong: Sequence[str],
    worst: float,
    told_logprobs: bool,
) -> Check:
    facts: dict[str, float | str] = {"backend": provider.name, "taught": known.taught}
    if told_logprobs:
        facts["worst_logprob_difference"] = worst
    if wrong:
        step = "Do not trust memories on this back-end; please report this with `--json`."
        detail = "; ".join(wrong)
        return Check(name=ADAPTED, status="problem", detail=detail, next_step=step, facts=facts)
    detail = f"an adapter taught {known.taught!r} says it, and the base model is unchanged"
    detail += f"; log-probabilities differ from PEFT ({known.precision}) by at most {worst:.1e}"
    if not told_logprobs:
        detail = detail.partition(";")[0] + " (this back-end tells no log-probabilities)"
    return Check(name=ADAPTED, status="good", detail=detail, facts=facts)


def _wrong(who: str, expected: KnownAnswer, got: Generation, within: Allowed) -> list[str]:
    """What is not as it should be, in words."""
    certain = _certain(expected, within)
    should = expected.texts[certain - 1].strip() if certain else ""
    if not got.text.strip().startswith(should):
        return [f"{who} says {got.text!r}, with PEFT {should!r}"]
    worst = _worst(expected, got, within)
    if worst > within.difference:
        return [f"{who} says the right words with log-probabilities that are {worst:.2g} off"]
    return []


def _certain(expected: KnownAnswer, within: Allowed) -> int:
    """How many tokens from the start must come out the same."""
    for number, margin in enumerate(expected.margins):
        if margin <= within.margin:
            return number
    return len(expected.margins)


def _worst(expected: KnownAnswer, got: Generation, within: Allowed) -> float:
    certain = _certain(expected, within)
    pairs = zip(expected.logprobs[:certain], got.token_logprobs, strict=False)
    return max((abs(ours - theirs) for ours, theirs in pairs), default=0.0)


def _drift(before: Generation, after: Generation) -> float:
    """How far the base model's log-probabilities moved while it said the same."""
    pairs = zip(before.token_logprobs, after.token_logprobs, strict=False)
    same = before.text == after.text
    return max((abs(b - a) for b, a in pairs), default=0.0) if same else 0.0


@dataclass(frozen=True, slots=True)
class _Timed:
    generation: Generation
    seconds: float


async def _timed(
    provider: InferenceProvider, request: GenerationRequest, adapter: AdapterRef | None = None
) -> _Timed:
    began = time.monotonic()
    async with asyncio.timeout(_ANSWER_SECONDS):
        [generation] = await provider.generate([request], adapter=adapter)
    return _Timed(generation, time.monotonic() - began)


def _request(question: str, tokens: int, *, logprobs: bool = False) -> GenerationRequest:
    message = ChatMessage("user", question)
    return GenerationRequest(messages=(message,), max_tokens=tokens, logprobs=logprobs)


def _failure(name: str, error: RuneError | TimeoutError) -> Check:
    if isinstance(error, RuneError):
        return failed(name, error)
    detail = f"no answer within {_ANSWER_SECONDS:.0f} s"
    return Check(name=name, status="problem", detail=detail, next_step="Use a smaller base model.")


def _untried(name: str, detail: str, next_step: str) -> Check:
    return Check(name=name, status="untried", detail=detail, next_step=next_step)
