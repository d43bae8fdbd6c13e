"""What a doctor says: findings about the data, checks of the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.models import Model
from rune_engine.models.probing import Check
from rune_engine.registry.quarantine import Quarantine

FindingKind = Literal[
    "database_damaged",
    "database_too_new",
    "reference_broken",
    "adapter_damaged",
    "adapter_lost",
    "object_damaged",
    "orphan",
    "stray",
    "projection_differs",
    "lineage_broken",
    "job_stranded",
    "permissions_open",
    "log_left",
]


class Finding(Model):
    """One thing that is not as it should be."""

    kind: FindingKind
    subject: str = Field(description="An adapter's or job's id, or a path in the home.")
    what: str
    means: str
    repair: str | None = Field(description="What `--repair` does; null when nothing can.")
    repaired: bool = False


class DataReport(Model):
    """All that was examined, and all that was found."""

    home: str
    adapters: int
    trajectories: int
    bytes_hashed: int
    findings: list[Finding]
    notes: list[str] = Field(description="Not wrong, and worth knowing.")
    quarantine: str | None = Field(default=None, description="Where a repair moved things.")

    @property
    def healthy(self) -> bool:
        """Whether nothing is left to mend."""
        return all(finding.repaired for finding in self.findings)


class MachineReport(Model):
    """Whether Rune can work here."""

    checks: list[Check]

    @property
    def healthy(self) -> bool:
        """Whether nothing keeps Rune from working."""
        return all(check.status != "problem" for check in self.checks)


@dataclass(frozen=True, slots=True)
class Tools:
    """What repairs work with; the engine's lock is held meanwhile."""

    config: RuneConfig
    database: Database
    quarantine: Quarantine


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding, and how it is mended."""

    finding: Finding
    mend: Callable[[Tools], None] | None = None
