"""Optional dependencies: what is missing, and the extra that brings it. Imports none of them."""

from __future__ import annotations

from importlib.util import find_spec

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
