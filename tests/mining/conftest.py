"""A home of its own for each test; an engine in it does not outlive the test."""

from engine_home import config

__all__ = ["config"]
