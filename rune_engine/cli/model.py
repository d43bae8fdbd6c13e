"""`rune model`: the base models that fit this machine, how they get here, and which one is used."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from rune_engine.cli.engine import Json
from rune_engine.cli.model_views import Overview, details, overview
from rune_engine.cli.session import err, out, print_json, print_table, with_engine
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import InvalidInputError
from rune_engine.home import prepare_home
from rune_engine.model_store import store
from rune_engine.model_store.names import parse_or_refuse
from rune_engine.model_store.pull import forget_partial
from rune_engine.model_store.pull import pull as pull_model
from rune_engine.model_store.resolve import name_to_keep
from rune_engine.model_store.store import PulledModel
from rune_engine.models import AdapterInfo
from rune_engine.settings_file import change_settings

app = typer.Typer(help=__doc__, no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="As `rune model list` shows it, or ORG/NAME[@REVISION][:FILE].")
]
_PAGE = 200


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the base models that Rune knows, what each needs, and whether it fits here."""
    found = overview(load_config())
    if as_json:
        print_json(found)
        return
    _print_overview(found)


@app.command()
def pull(
    name: Name,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no network; say what is missing.")
    ] = False,
    base_model_id: Annotated[
        str | None,
        typer.Option(
            help="What adapters bind to. For a GGUF file outside the list: the id of the model "
            "that it was made from."
        ),
    ] = None,
) -> None:
    """Download a base model, or go on with a download that was interrupted."""
    config = load_config()
    wanted = parse_or_refuse(name)
    known = wanted.known
    if known is not None and known.licence_note:
        err.print(Text(f"{known.name}: {known.licence_note}", style="yellow"), soft_wrap=True)
    prepare_home(config)
    with _progress() as progress:
        task = progress.add_task(wanted.short, total=None)

        def report(file: str, came: int, total: int) -> None:
            progress.update(task, description=file, total=total, advance=came)

        model = pull_model(
            config.models_path,
            wanted,
            offline=offline,
            base_model_id=base_model_id,
            report=report,
        )
    out.print(f"{model.name} is at {model.path}", soft_wrap=True, highlight=False, markup=False)
    if config.base_model not in (name, model.name):
        err.print(Text(f"Use it with `rune model use {model.name}`."), soft_wrap=True)


@app.command()
def use(name: Annotated[str, typer.Argument(help="A name, a folder, or a .gguf file.")]) -> None:
    """Make a base model the one that Rune uses, in `config.toml`."""
    config = load_config()
    kept = name_to_keep(name, config)
    prepare_home(config)
    file = change_settings(config.home, {"base_model": kept})
    out.print(f"{file} now names {kept}.", soft_wrap=True, highlight=False, markup=False)
    now = load_config()
    if now.base_model != kept:
        err.print(
            Text(f"RUNE_BASE_MODEL is set and wins: {now.base_model} is used.", style="yellow"),
            soft_wrap=True,
        )
    if with_engine(lambda client: client.running()) is not None:
        err.print(Text("The engine that runs keeps its model until `rune engine stop`."))


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A name, a folder, or a .gguf file.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check its hash.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a base model: shape, files, licence, memory it takes here, and its adapters."""
    config = load_config()
    found = details(name, config)
    if verify:
        _verify(found.pulled)
    adapters = with_engine(lambda client: _adapters_of(client, found.id, config))
    found = found.model_copy(update={"adapters": [adapter.id for adapter in adapters]})
    if as_json:
        print_json(found)
        return
    print_table((), found.rows())
    if found.pulled is not None:
        rows = (
            (each.name, _bytes(each.size), f"{each.algorithm} {each.digest}")
            for each in found.pulled.source.files
        )
        out.print()
        print_table(("file", "size", "hash"), rows)


@app.command()
def remove(name: Name) -> None:
    """Remove a base model that was pulled; its adapters stay."""
    config = load_config()
    wanted = parse_or_refuse(name)
    begun = forget_partial(config.models_path, wanted)
    if begun and store.find(config.models_path, wanted) is None:
        out.print(f"Removed what an interrupted pull of {wanted} left.", highlight=False)
        return
    model = store.delete(config.models_path, wanted)
    out.print(f"Removed {model.reference}, {_bytes(model.size)}.", soft_wrap=True, highlight=False)


def _print_overview(found: Overview) -> None:
    machine = found.hardware
    memory = f"{_bytes(machine.memory_available_bytes)} of {_bytes(machine.memory_bytes)}"
    limited = " (limited by its container)" if machine.memory_limited else ""
    print_table(
        (),
        [
            ("processor", f"{machine.cpu}, {machine.cores} cores"),
            ("instructions", " ".join(machine.cpu_features)),
            ("memory", f"{memory} free{limited}"),
            *(("accelerator", f"{a.name}, {_bytes(a.memory_bytes)}") for a in machine.accelerators),
            ("disk", f"{_bytes(machine.disk_free_bytes)} free"),
        ],
    )
    out.print()
    columns = ("", "model", "here", "download", "needs", "fit", "licence")
    print_table(columns, (row.cells() for row in found.models))
    out.print()
    out.print(found.advice, soft_wrap=True, highlight=False, markup=False)
    for name in found.interrupted:
        err.print(Text(f"A pull of {name} was interrupted; `rune model pull` goes on with it."))


def _verify(model: PulledModel | None) -> None:
    if model is None:
        raise InvalidInputError(
            "Only a model that was pulled can be verified: for others there are no hashes.",
            next_step="See `rune model list`.",
        )
    store.verify(model)
    err.print(Text(f"All {len(model.source.files)} files are what was pulled."))


async def _adapters_of(
    client: EngineClient, base_model_id: str, config: RuneConfig
) -> list[AdapterInfo]:
    """The registry's adapters for that base model; none is asked for where there is no registry."""
    found: list[AdapterInfo] = []
    offset: int | None = 0 if config.database_path.exists() else None
    while offset is not None:
        page = await client.list_adapters(offset=offset, limit=_PAGE)
        found += [each for each in page.adapters if each.base_model_id == base_model_id]
        offset = page.next_offset
    return found


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )
