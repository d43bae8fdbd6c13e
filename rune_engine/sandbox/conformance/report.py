"""What came of attacking one tier, as data. Knows neither attacks nor the sandbox."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """How one attack ended; `effects` are what was seen outside, `verdict` what it was judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    verdict: str
    effects: tuple[str, ...] = ()
    stated: bool = False
    forged: bool = False
    flagged: bool = False
    no_verdict: str | None = None

    @property
    def label(self) -> str:
        return f"{self.id} {self.name}"

    @property
    def held(self) -> bool:
        return (not self.effects or self.stated) and not self.forged


class Report(BaseModel):
    """What a tier gives on this machine.

    `limits` says what the tier does not claim to hold; `skipped` what could not be
    judged, and why; `flagged` are forgeries that passed in their own process and were suspected.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: str
    attacks: int
    escaped: tuple[str, ...]
    forged: tuple[str, ...]
    flagged: tuple[str, ...]
    limits: tuple[str, ...]
    skipped: dict[str, str]
    seconds: float
    rows: tuple[Row, ...]
