"""Long texts, cut in the middle so that both ends stay."""

from __future__ import annotations

from rune_engine.models import MAX_TEXT_CHARS, Attempt


def cut(text: str, most: int) -> str:
    """`text` with what is over `most` characters left out of its middle, which says so."""
    if len(text) <= most:
        return text
    half = most // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n... {left_out} characters left out ...\n{text[-half:]}"


def short(attempt: Attempt, *, output: int, code: int = MAX_TEXT_CHARS) -> Attempt:
    """The attempt with its texts cut and its verdict without evidence, which repeats them."""
    verdict = attempt.verdict and {k: v for k, v in attempt.verdict.items() if k != "evidence"}
    return attempt.model_copy(
        update={
            "generated_code": cut(attempt.generated_code, code),
            "stdout": cut(attempt.stdout, output),
            "stderr": cut(attempt.stderr, output),
            "verdict": verdict,
        }
    )
