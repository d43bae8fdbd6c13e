"""A model hub on loopback for each test."""

from hub_support import hub, tiny

__all__ = ["hub", "tiny"]
