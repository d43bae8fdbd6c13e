"""A home of its own for each test, or one for a module."""

from engine_home import client, config, shared_client, shared_config

__all__ = ["client", "config", "shared_client", "shared_config"]
