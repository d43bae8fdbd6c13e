"""A home of its own for each test."""

from engine_home import client, config

__all__ = ["client", "config"]
