"""A home of its own for each test, and repositories to mine."""

from engine_home import client, config

__all__ = ["client", "config"]
