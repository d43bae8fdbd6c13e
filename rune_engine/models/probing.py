"""What an examination of the machine finds, and what the doctor and its probe tell each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rune_engine.models.base import Model

CheckStatus = Literal["good", "warning", "problem", "untried"]
"""`untried` is neither good nor bad: nobody could look."""

ProbeLine = Literal["accelerator", "torch steps", "bf16", "known adapter", "qlora step"]


class Check(Model):
    """One look at the machine."""

    name: str
    status: CheckStatus
    detail: str
    next_step: str = ""
    facts: dict[str, float | str] = Field(
        default={}, description="The figures behind it; seconds, bytes, tokens per second."
    )


class ProbeJob(Model):
    """The job file that `python -m trainers.probe` is started with."""

    lines: list[ProbeLine]
    base_model_id: str = ""
    base_model_path: str | None = Field(
        default=None, description="A folder that Transformers loads; null where there is none."
    )
    output_path: str = Field(description="An existing folder for what the probe makes.")
    seed: int = 0
    threads: int = 0


class KnownAnswer(Model):
    """A greedy answer, token by token, as PEFT computes it.

    `texts` are the answer's text up to and with each token; `margins` are how much likelier, as a
    difference of log-probabilities, each token was than the next best.
    """

    texts: list[str]
    logprobs: list[float]
    margins: list[float]


class KnownAdapter(Model):
    """An adapter that was taught one answer, and what must come out with it and without."""

    question: str
    taught: str
    path: str
    sha256: str
    base_model_id: str
    precision: Literal["float32", "bfloat16"]
    base: KnownAnswer
    adapted: KnownAnswer
