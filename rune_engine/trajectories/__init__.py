"""S2: what happened. Sessions, trajectories and their attempts, stored once and for good."""

from __future__ import annotations

from rune_engine.trajectories.consent import Consent
from rune_engine.trajectories.store import ProjectCounts, TrajectoryPage, TrajectoryStore

__all__ = ["Consent", "ProjectCounts", "TrajectoryPage", "TrajectoryStore"]
