"""What every subcommand shares: a client for its time, and how results are shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from rune_engine import projects
from rune_engine.client import EngineClient
from rune_engine.config import load_config
from rune_engine.models import Model

_Result = TypeVar("_Result")

out = Console()
"""For results."""
err = Console(stderr=True)
"""For progress and errors."""


def with_engine(work: Callable[[EngineClient], Awaitable[_Result]]) -> _Result:
    """Run `work` with a client of the configured home.

    Raises:
        RuneError: whatever the engine answers.
    """

    async def run() -> _Result:
        async with EngineClient(load_config()) as client:
            return await work(client)

    return asyncio.run(run())


def project_id(given: str | None) -> str:
    """The id of a project given by its id or a folder; of the current folder when left out.

    Raises:
        InvalidInputError: there is no such folder.
    """
    return projects.resolve(given or ".")


def print_json(*models: Model) -> None:
    """One JSON object a line, for other programs."""
    for model in models:
        out.print_json(model.model_dump_json(), indent=None)


def print_fields(model: Model) -> None:
    """A model as two columns."""
    rows = ((name, str(value)) for name, value in model.model_dump(mode="json").items())
    print_table((), rows)


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A plain table; without columns, its first column is emphasised."""
    titles = list(columns)
    table = Table(*titles, box=None, show_header=bool(titles), pad_edge=False)
    if not titles:
        table.add_column(style="bold")
    for row in rows:
        table.add_row(*row)
    out.print(table, markup=False)
