"""A server that was found to serve our base model, and what is loaded on it.

Knows whether the model behind a URL is the one that adapters here were made for; nothing of
requests and answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rune_engine.errors import BackendUnavailableError, InferenceError, InvalidInputError
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.vllm import canary
from rune_engine.inference.vllm.base_shapes import module_shapes
from rune_engine.inference.vllm.canary import Canary
from rune_engine.inference.vllm.loaded import LoadedAdapters
from rune_engine.inference.vllm.mixing import NO_ADAPTER, Names, make_zeros
from rune_engine.inference.vllm.refusals import check_servable
from rune_engine.inference.vllm.replies import ServedModel, ServerFacts, UnknownModelError
from rune_engine.inference.vllm.server import VllmServer
from rune_engine.inference.vllm.staging import Staging

_GPUS = ("cuda", "hip", "rocm", "xpu")
_OF_NO_MATTER = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What the server has to serve: an id, and the folder that has it here."""

    id: str
    folder: Path


class Connection:
    """One server, checked; made by `Connection.open`."""

    def __init__(
        self,
        server: VllmServer,
        base: BaseModel,
        served: ServedModel,
        staging: Staging,
        adapters: LoadedAdapters,
        names: Names,
    ) -> None:
        self.server = server
        self.served = served
        self.adapters = adapters
        self.names = names
        self._base = base
        self._staging = staging
        self._canaries: dict[str, Canary] = {}

    @classmethod
    async def open(
        cls, server: VllmServer, base: BaseModel, staging_root: Path, max_adapters: int
    ) -> Connection:
        """Find our base model on the server, and wake it where it was left asleep.

        Raises:
            BackendUnavailableError: nobody answers, or it serves something else.
        """
        models = await server.models()
        served = find_base(models, base, server.url)
        if await server.is_sleeping():
            await server.wake_up()
        facts = await server.facts()
        shapes = await asyncio.to_thread(_shapes, base)
        staging = await asyncio.to_thread(Staging.open, staging_root)

        def check(adapter: AdapterRef) -> None:
            check_servable(adapter, facts, shapes)

        adapters = LoadedAdapters(server, staging, check, _below(facts, max_adapters))
        zeros = None
        if not (facts.device or "").startswith(_GPUS):
            zeros = await asyncio.to_thread(make_zeros, staging.folder / "zeros", base.id, shapes)
        await _unload_leftovers(server, models, staging_root)
        names = Names(served.name, adapters, zeros)
        return cls(server, base, served, staging, adapters, names)

    @property
    def loaded_ids(self) -> tuple[str, ...]:
        """The adapters on the server, least recently used first."""
        ids = (entry.copied.id for entry in self.adapters.entries)
        return tuple(adapter_id for adapter_id in ids if adapter_id != NO_ADAPTER)

    async def verify(self) -> None:
        """Look again, after something went wrong: is it still our model, and what is loaded?

        Raises:
            BackendUnavailableError: nobody answers, or it serves something else.
        """
        models = await self.server.models()
        self.served = find_base(models, self._base, self.server.url)
        self.adapters.keep_only(model.name for model in models)

    async def sleep(self) -> None:
        """Ask every canary, then put the server to sleep."""
        names = [self.served.name, *(entry.name for entry in self.adapters.entries)]
        self._canaries = {name: await canary.record(self.server, name) for name in names}
        await self.server.sleep()

    async def wake(self) -> None:
        """Wake the server and ask every canary again; what lost its adapter gets it again.

        Raises:
            InferenceError: it answers otherwise than before it slept.
        """
        await self.server.wake_up()
        await self._compare(self.served.name)
        for entry in self.adapters.entries:
            try:
                await self._compare(entry.name)
            except (InferenceError, UnknownModelError):
                await self.adapters.reload(entry)
                await self._compare(entry.name)

    async def close(self) -> None:
        """Unload our adapters and erase their copies."""
        await self.adapters.clear()
        await asyncio.to_thread(self._staging.close)

    async def _compare(self, name: str) -> None:
        before = self._canaries[name]
        if not before.is_like(await canary.ask(self.server, name)):
            raise InferenceError(
                f"The vLLM server answers otherwise than before it slept, as {name}.",
                next_step="Start it again; nothing is generated with it until then.",
            )


def find_base(models: Sequence[ServedModel], base: BaseModel, url: str) -> ServedModel:
    """The line of `/v1/models` that is our base model.

    It is ours when it is served from our folder, or under our id from a folder that cannot be
    read here, or from one with the same architecture.

    Raises:
        BackendUnavailableError: there is none.
    """
    bases = [model for model in models if model.parent is None]
    for model in bases:
        if _is_same_folder(model.root, base.folder):
            return model
    for model in bases:
        if model.name == base.id and _may_be_copy(Path(model.root), base.folder):
            return model
    served = ", ".join(f"{model.name} ({model.root})" for model in bases) or "nothing"
    raise BackendUnavailableError(
        f"The vLLM server at {url} serves {served}, not the base model {base.id!r}.",
        next_step=f"Start one with `rune vllm serve --base-model {base.folder}`, "
        "or choose the base model that it serves.",
    )


def _is_same_folder(root: str, folder: Path) -> bool:
    return bool(root) and Path(root).is_dir() and Path(root).samefile(folder)


def _may_be_copy(root: Path, folder: Path) -> bool:
    theirs = _config(root)
    return theirs is None or theirs == _config(folder)


def _config(folder: Path) -> dict[str, Any] | None:
    """What the model is, without what a library notes of itself; None where it is not here."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return {key: value for key, value in config.items() if key not in _OF_NO_MATTER}


def _shapes(base: BaseModel) -> Any:
    try:
        return module_shapes(base.folder)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"The weights of the base model in {base.folder} cannot be read: {error}",
            next_step="Fetch the base model again.",
        ) from error


def _below(facts: ServerFacts, wanted: int) -> int:
    """One fewer than the server's cache holds: it loads a new adapter before it drops an old."""
    most = facts.max_cpu_adapters
    return wanted if most is None else max(1, min(wanted, most - 1))


async def _unload_leftovers(
    server: VllmServer, models: Sequence[ServedModel], staging_root: Path
) -> None:
    """What a killed process of ours left on the server: its copies are erased by now."""
    for model in models:
        path = Path(model.root)
        if model.parent and path.is_relative_to(staging_root) and not path.is_dir():
            try:
                await server.unload(model.name)
            except InferenceError as error:
                if isinstance(error, BackendUnavailableError):
                    raise
