"""Torch without its compiler and without its distributed tensors, until somebody asks for them.

Transformers imports both for decorators and annotations that do nothing where nothing is compiled
and there is one process: a third of what a worker or a trainer takes to start. Knows no model, and
imports torch only when it is called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_LIGHT = frozenset({f"{_COMPILER}._trace_wrapped_higher_order_op"})
"""Parts of the compiler that need no other; Transformers' masks are made with one."""


def leave_out_compiler() -> None:
    """Let this process do without them; call it before Transformers is imported.

    Torch then says that it was built without the distributed part, as some builds are. Of the
    compiler there are the marks that code carries for it; whatever else is asked of it loads it.
    """
    import torch

    spec = None if _COMPILER in sys.modules else find_spec(_COMPILER)
    if spec is None or spec.submodule_search_locations is None:
        return
    torch.distributed.is_available = lambda: False
    stand_in = _Later(_COMPILER)
    stand_in.__path__ = list(spec.submodule_search_locations)
    stand_in.__spec__ = spec
    sys.modules[_COMPILER] = torch.__dict__["_dynamo"] = stand_in
    sys.meta_path.insert(0, _Parts())


class _Later(ModuleType):
    """Stands for the compiler until something of it is needed."""

    def __getattr__(self, name: str) -> Any:
        if name in _MARKS:
            return _MARKS[name]
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_load(self), name)


class _Parts(MetaPathFinder):
    """Loads the whole compiler before a part of it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        stand_in = sys.modules.get(_COMPILER)
        if not fullname.startswith(f"{_COMPILER}.") or fullname in _LIGHT:
            return None
        if isinstance(stand_in, _Later):
            _load(stand_in)
            if fullname in sys.modules:
                return ModuleSpec(fullname, _There())
        return None


class _There(Loader):
    """Of a module that its package has imported meanwhile."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It has run."""


def _load(stand_in: ModuleType) -> ModuleType:
    """The compiler itself, in the place of what stood for it."""
    import torch

    if sys.modules.get(_COMPILER) is stand_in:
        del sys.modules[_COMPILER]
        torch.__dict__.pop("_dynamo", None)
    compiler = importlib.import_module(_COMPILER)
    for name in _LIGHT & sys.modules.keys():
        setattr(compiler, name.rpartition(".")[2], sys.modules[name])
    return compiler


def _unchanged(function: Any) -> Any:
    return function


def _disable(function: Any = None, *_: Any, **__: Any) -> Any:
    return _unchanged if function is None else function


def _nothing(*_: Any, **__: Any) -> None:
    """A place where the compiler would have to stop."""


_MARKS: dict[str, Callable[..., Any]] = {
    "allow_in_graph": _unchanged,
    "assume_constant_result": _unchanged,
    "disable": _disable,
    "graph_break": _nothing,
}
"""What is said to the compiler, and means nothing without it."""
