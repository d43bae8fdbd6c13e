"""What `rune model list` and `info` show, as data: the models beside what the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import base_models
from rune_engine.config import RuneConfig
from rune_engine.hardware import Hardware, probe
from rune_engine.model_store import memory, names, store
from rune_engine.model_store.catalogue import (
    CATALOGUE,
    DISTILLATION_NOTE,
    QUANTISATIONS,
    CatalogueModel,
    by_name,
)
from rune_engine.model_store.memory import Need, Verdict
from rune_engine.model_store.pull import interrupted
from rune_engine.model_store.resolve import resolve_model
from rune_engine.model_store.shapes import ModelShape, shape_of
from rune_engine.model_store.store import PulledModel
from rune_engine.models.base import Model

_LEAVE = 8
"""Adapters named in `info`; the rest are counted."""


class Row(Model):
    """A model in the list. `download_bytes` is an estimate until it is here."""

    name: str
    here: bool
    used: bool
    recommended: bool
    download_bytes: int
    need: Need | None
    verdict: Verdict | None
    licence: str | None

    def cells(self) -> tuple[str, ...]:
        marks = "*" if self.used else ""
        fit, needed = "", ""
        if self.verdict is not None:
            needed = _bytes(self.verdict.needed_bytes)
            fit = f"{self.verdict.fit} ({_bytes(self.verdict.available_bytes)} free)"
        if self.recommended:
            fit += ", recommended"
        size = _bytes(self.download_bytes) if self.download_bytes else ""
        return marks, self.name, "yes" if self.here else "", size, needed, fit, self.licence or ""


class Overview(Model):
    """The machine, and the models that could be used on it."""

    hardware: Hardware
    context: int
    models: list[Row]
    advice: str
    interrupted: list[str]


class Details(Model):
    """Everything that is known of one model. `path` is null until it is here."""

    name: str
    id: str
    path: str | None
    parameters: int | None
    shape: ModelShape | None
    licence: str | None
    licence_note: str
    need: Need | None
    verdict: Verdict | None
    distillation_note: str
    pulled: PulledModel | None
    adapters: list[str]

    def rows(self) -> Iterator[tuple[str, str]]:
        """The table that people read."""
        yield "name", self.name
        yield "base model id", self.id
        yield "here", self.path or f"no; download it with `rune model pull {self.name}`"
        yield from self._architecture()
        yield "licence", f"{self.licence or 'unknown'}. {self.licence_note}".rstrip(" .")
        if self.pulled is not None:
            source = self.pulled.source
            yield "from", f"{source.repository} {source.revision}, commit {source.commit}"
        yield from self._memory()
        if self.distillation_note:
            yield "distillation", self.distillation_note
        some = ", ".join(self.adapters[:_LEAVE])
        more = f" and {len(self.adapters) - _LEAVE} more" if len(self.adapters) > _LEAVE else ""
        yield "adapters", f"{len(self.adapters)}: {some}{more}" if self.adapters else "none"

    def _architecture(self) -> Iterator[tuple[str, str]]:
        if self.shape is None:
            return
        shape = self.shape
        yield "parameters", f"{self.parameters:,}" if self.parameters else "unknown"
        yield (
            "shape",
            f"{shape.layers} layers, {shape.hidden} wide ({shape.inner} inside), {shape.heads} "
            f"heads ({shape.kv_heads} for keys), {shape.vocabulary:,} tokens, context of "
            f"{shape.context:,}",
        )

    def _memory(self) -> Iterator[tuple[str, str]]:
        if self.need is None or self.verdict is None:
            return
        need, verdict = self.need, self.verdict
        yield (
            "serving needs",
            f"{_bytes(need.total)}: weights {_bytes(need.weights)}, cache {_bytes(need.cache)} at "
            f"{need.context:,} tokens, worker {_bytes(need.working)}",
        )
        yield (
            "on this machine",
            f"{verdict.fit}: {_bytes(verdict.available_bytes)} of {_bytes(verdict.total_bytes)} "
            f"free, {verdict.place}",
        )


def overview(config: RuneConfig) -> Overview:
    """The models that ship, those of the catalogue, and what else was pulled."""
    hardware = probe(config.home)
    here = store.pulled(config.models_path)
    context = config.serving.context or memory.CONTEXT
    best = memory.recommend(hardware, config.serving.context)
    rows = [_shipped_row(name, config, hardware) for name in base_models.shipped()]
    for model in CATALOGUE:
        for file in (None, *QUANTISATIONS):
            recommended = best is not None and file is None and best[0] is model
            rows.append(_catalogue_row(model, file, here, config, hardware, recommended))
    listed = {row.name for row in rows}
    rows += [_pulled_row(m, config, hardware) for m in here if m.name not in listed]
    advice = "No model of the catalogue fits here now; rune-nano does."
    if best is not None:
        advice = (
            f"Recommended: {best[0].name} ({best[1]}). Get it: `rune model pull {best[0].name}`."
        )
    return Overview(
        hardware=hardware,
        context=context,
        models=rows,
        advice=advice,
        interrupted=interrupted(config.models_path),
    )


def details(name: str, config: RuneConfig) -> Details:
    """What is known of a model that is here, or in the catalogue.

    Raises:
        BaseModelNotFoundError: it is neither.
        BaseModelCorruptedError: what it says of itself cannot be read.
    """
    hardware = probe(config.home)
    wanted = names.parse(name) if name not in base_models.shipped() else None
    pulled = store.find(config.models_path, wanted) if wanted else None
    known = wanted.known if wanted else None
    if known is not None and wanted is not None and pulled is None and not Path(name).exists():
        row = _catalogue_row(known, wanted.file, [], config, hardware, recommended=False)
        return _details(row, known.id, known, known.shape, None, None)
    found = resolve_model(name, config)
    row = _row(pulled.name if pulled else name, found.path, pulled, config, hardware)
    known = by_name(found.id)
    return _details(row, found.id, known, shape_of(found.path), found.path, pulled)


def _details(
    row: Row,
    base_model_id: str,
    known: CatalogueModel | None,
    shape: ModelShape | None,
    path: Path | None,
    pulled: PulledModel | None,
) -> Details:
    exact = known.shape.parameters if known else None
    return Details(
        name=row.name,
        id=base_model_id,
        path=str(path) if path else None,
        parameters=exact or (shape.parameters if shape else None),
        shape=shape,
        licence=row.licence,
        licence_note=known.licence_note if known else "",
        need=row.need,
        verdict=row.verdict,
        distillation_note=DISTILLATION_NOTE if known else "",
        pulled=pulled,
        adapters=[],
    )


def _shipped_row(name: str, config: RuneConfig, hardware: Hardware) -> Row:
    return _row(name, base_models.describe(name).path, None, config, hardware)


def _pulled_row(model: PulledModel, config: RuneConfig, hardware: Hardware) -> Row:
    return _row(model.name, model.path, model, config, hardware)


def _row(
    name: str, path: Path, pulled: PulledModel | None, config: RuneConfig, hardware: Hardware
) -> Row:
    shape = shape_of(path)
    size = _weight_bytes(path)
    need = _need(shape, path, size, config, hardware) if shape else None
    licence = pulled.source.licence if pulled else None
    if name in base_models.shipped():
        licence = "apache-2.0"
    return Row(
        name=name,
        here=True,
        used=config.base_model in (name, str(path)),
        recommended=False,
        download_bytes=pulled.size if pulled else size,
        need=need,
        verdict=_judge(need, path.suffix == ".gguf", hardware),
        licence=licence,
    )


def _catalogue_row(
    model: CatalogueModel,
    file: str | None,
    here: list[PulledModel],
    config: RuneConfig,
    hardware: Hardware,
    recommended: bool,
) -> Row:
    name = f"{model.name}:{file}" if file else model.name
    found = next((each for each in here if each.name == name), None)
    if found is not None:
        row = _row(name, found.path, found, config, hardware)
        return row.model_copy(update={"recommended": recommended})
    size, need = 2 * model.shape.parameters, None
    if file is None:
        need = memory.need_of_safetensors(
            model.shape, config.serving.precision, hardware, config.serving.context
        )
    elif file in QUANTISATIONS:
        size = memory.gguf_bytes(model.shape, file)
        need = memory.need_of_gguf(model.shape, size, config.serving.context)
    return Row(
        name=name,
        here=False,
        used=config.base_model == name,
        recommended=recommended,
        download_bytes=size if need else 0,
        need=need,
        verdict=_judge(need, file is not None, hardware),
        licence=model.licence,
    )


def _need(shape: ModelShape, path: Path, size: int, config: RuneConfig, hardware: Hardware) -> Need:
    context = config.serving.context
    if path.suffix == ".gguf":
        return memory.need_of_gguf(shape, size, context)
    return memory.need_of_safetensors(shape, config.serving.precision, hardware, context)


def _judge(need: Need | None, is_gguf: bool, hardware: Hardware) -> Verdict | None:
    """The llama.cpp that is installed by default computes on the processor."""
    return memory.judge(need, hardware, on_accelerator=not is_gguf) if need else None


def _weight_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
