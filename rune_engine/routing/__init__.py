"""S13: which adapter a task gets."""

from __future__ import annotations

from rune_engine.routing.router import Router

__all__ = ["Router"]
