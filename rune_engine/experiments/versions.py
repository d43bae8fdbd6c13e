"""Which versions a run was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import rune_engine

_LIBRARIES = ("torch", "transformers", "peft", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Rune's, Python's and the libraries', by name; what is not installed is left out."""
    found = {"rune": rune_engine.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
