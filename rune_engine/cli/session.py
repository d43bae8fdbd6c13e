"""What every subcommand shares: a client for its time, and how results are shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from rune_engine import projects
from rune_engine.client import EngineClient
from rune_engine.config import load_config
from rune_engine.harmless import harmless
from rune_engine.models import Model

_Result = TypeVar("_Result")


class Terminal(Console):
    """A console on which recorded text is read, not obeyed.

    Whatever is shown, escape sequences in it are spelled out and square brackets are no markup:
    session files, programs' outputs and names of projects come from anywhere.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Rich's own segments, of text that is harmless; its colours are put in only later."""
        for segment in super().render(renderable, options):
            safe = segment.text if segment.control else harmless(segment.text)
            yield segment if safe is segment.text else Segment(safe, segment.style)


out = Terminal()
"""For results."""
err = Terminal(stderr=True)
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
