"""A request as Ollama's `/api/generate` takes it, and the lines that it answers as an answer.

Prompts are raw text that was rendered here, so that no content can spell a special token. Every
sampling option is given: Ollama's own defaults penalise repetition and cut the vocabulary.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from rune_engine.errors import InferenceError, InvalidInputError
from rune_engine.inference.provider import Generation, GenerationRequest

_NEUTRAL = {
    "top_k": 0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "mirostat": 0,
}


def body_of(
    model: str, prompt: str, request: GenerationRequest, *, context: int, keep_alive: float
) -> dict[str, Any]:
    """The body of one generation.

    `truncate` and `shift` are false: by default Ollama silently drops what does not fit.

    Raises:
        InvalidInputError: the prompt is empty, which would only load the model.
    """
    if not prompt:
        raise InvalidInputError("The prompt is empty.", next_step="Give it some text.")
    options = {
        **_NEUTRAL,
        "num_ctx": context,
        "num_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop),
    }
    asked = {"logprobs": True} if request.logprobs else {}
    return {
        "model": model,
        "prompt": prompt,
        "raw": True,
        "truncate": False,
        "shift": False,
        "keep_alive": keep_alive,
        "options": options,
        **asked,
    }


async def read(
    lines: AsyncIterator[Mapping[str, Any]], adapter_id: str | None
) -> AsyncGenerator[str | Generation, None]:
    """The pieces of an answer, then the answer.

    Raises:
        InferenceError: the lines end before the answer does.
    """
    text, logprobs = "", []
    async for line in lines:
        if piece := str(line.get("response") or ""):
            text += piece
            yield piece
        logprobs += [float(token["logprob"]) for token in line.get("logprobs") or ()]
        if line.get("done"):
            yield Generation(
                text=text,
                finish_reason="length" if line.get("done_reason") == "length" else "stop",
                # Left out by versions that had the whole prompt in their cache.
                prompt_tokens=int(line.get("prompt_eval_count") or 0),
                completion_tokens=int(line.get("eval_count") or 0),
                adapter_id=adapter_id,
                token_logprobs=tuple(logprobs),
            )
            return
    raise InferenceError(
        "Ollama ended the answer in the middle.", next_step="Try again; its log may say why."
    )
