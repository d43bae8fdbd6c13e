"""`rune vllm`: a vLLM server that Rune can use, started with what Rune needs of it."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from httpx import URL

from rune_engine.cli.session import err, out
from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import InvalidInputError
from rune_engine.hardware import has_accelerator
from rune_engine.inference.vllm.command import ServerSettings, command, model_folder
from rune_engine.inference.vllm.launch import ServerProcess
from rune_engine.model_store.resolve import resolve_model

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `serve` a subcommand while it is the only one."""


@app.command()
def serve(
    python: Annotated[
        str, typer.Option(envvar="RUNE_VLLM_PYTHON", help="The Python that has vLLM.")
    ] = "python3",
    base_model: Annotated[str | None, typer.Option(help="A name or a folder.")] = None,
    port: Annotated[int | None, typer.Option(help="serving.vllm_url's by default.")] = None,
    pipeline: Annotated[int, typer.Option(min=1, help="GPUs, one after the other.")] = 1,
    tensor: Annotated[int, typer.Option(min=1, help="GPUs, side by side.")] = 1,
    max_adapters: Annotated[int, typer.Option(min=1, help="In one batch.")] = 4,
    max_rank: Annotated[int, typer.Option(min=1, help="Of an adapter.")] = 64,
    wait: Annotated[float, typer.Option(help="Seconds until it has to answer.")] = 900.0,
    only_print: Annotated[bool, typer.Option("--print", help="Show the command only.")] = False,
    extra: Annotated[
        list[str] | None, typer.Argument(help="After --: more arguments for vLLM.")
    ] = None,
) -> None:
    """Start a vLLM server on the loopback interface and stay until Ctrl-C.

    Its Python is one with vLLM installed, best in a virtual environment of its own.
    """
    config = load_config()
    found = resolve_model(base_model or config.base_model, config)
    settings = ServerSettings(
        python=python,
        base_model_id=found.id,
        model=model_folder(found),
        port=port or URL(config.serving.vllm_url).port or 80,
        dtype=_dtype(config),
        pipeline_parallel=pipeline,
        tensor_parallel=tensor,
        max_adapters=max_adapters,
        max_cpu_adapters=config.serving.vllm_adapters + 1,
        max_rank=max_rank,
        context=config.serving.context,
        sleep=has_accelerator(),
        extra=tuple(extra or ()),
    )
    if only_print:
        out.print(shlex.join(command(settings)), soft_wrap=True, highlight=False, markup=False)
        return
    _serve(settings, config.logs_path / "vllm.log", wait)


def _serve(settings: ServerSettings, log: Path, wait: float) -> None:
    """Until a signal ends us, or it ends by itself."""
    with _signals_end_us(), ServerProcess(settings, log) as server:
        err.print(f"Starting vLLM, pid {server.pid}; its log is {log}", soft_wrap=True)
        server.wait_until_healthy(wait)
        out.print(f"{settings.base_model_id} is served at {settings.url}", soft_wrap=True)
        server.wait()


@contextmanager
def _signals_end_us() -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP unwind the stack, at whose end the server is told to end."""
    names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {name: signal.signal(name, _leave) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _leave(number: int, _: FrameType | None) -> None:
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # the way out is bounded; it is gone one time only
    raise typer.Exit(0 if number == signal.SIGINT else 128 + number)


def _dtype(config: RuneConfig) -> str:
    precision = config.serving.precision
    if precision == "nf4":
        raise InvalidInputError(
            "Rune does not serve NF4 through vLLM.",
            next_step="Set serving.precision to auto, float32 or bfloat16.",
        )
    return precision
