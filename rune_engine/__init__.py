"""Rune's engine and the client it is reached with. Importing this package loads nothing."""

__version__ = "0.1.0"
