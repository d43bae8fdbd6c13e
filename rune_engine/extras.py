"""Optional dependencies: what is missing, and the extra that brings it. Imports none of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import cast

from rune_engine.errors import MissingExtraError

_TORCH = ("torch", "transformers", "peft", "safetensors")
_EXTRAS = {
    "torch": _TORCH,
    "qlora": (*_TORCH, "bitsandbytes"),
    "llama": ("llama_cpp", "gguf"),
    "models": ("huggingface_hub",),
    "experiments": (*_TORCH, "numpy"),
}


def require(extra: str, purpose: str) -> None:
    """Refuse `purpose` where a module of the extra is missing.

    Raises:
        MissingExtraError: names the modules and the extra to install.
    """
    missing = [module for module in _EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"{purpose} needs {', '.join(missing)}, which is not installed.",
            next_step=f'Install it with: pip install "rune-mcp[{extra}]"',
        )


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let what is imported meanwhile take `module` for not installed; nothing where it is loaded.

    For libraries that import whatever optional one they find, and take seconds for it.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = cast(ModuleType, None)  # how Python itself notes that there is none
    try:
        yield
    finally:
        del sys.modules[module]
