"""`rune serve`: the local model and its memories for every client that speaks OpenAI's API."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from rune_engine.cli.client_settings import Access, settings
from rune_engine.cli.engine import Json
from rune_engine.cli.session import err, out, project_id, with_engine
from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import EngineRunningError, EngineUnavailableError, RuneError, from_envelope
from rune_engine.models import OpenAIStatus

DEFAULT_PORT = 7863
"""RUNE on a telephone's keys."""


def serve(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help=f"Default {DEFAULT_PORT}; 0: any free one.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Whose memory; default: this folder's project.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve OpenAI's API on a loopback port until Ctrl-C, and show what clients need.

    Is the engine of this home meanwhile; one that was started on demand makes way.
    """
    from rune_engine.service.process import main
    from rune_engine.starter import EXIT_ALREADY_RUNNING

    config = _with_port(port)
    shown = _Shown(config, f"rune@{project_id(project)}", as_json)
    code = main(["--stay", config.model_dump_json()], shown)
    if shown.error is not None:
        raise shown.error
    if code != EXIT_ALREADY_RUNNING:
        raise typer.Exit(code)
    status = with_engine(lambda client: client.openai())
    if status.base_url is None:
        raise EngineRunningError(
            f"An engine that stays runs in this home, without this endpoint. {status.detail}",
            next_step=f"Set openai_port = {config.openai_port} in {config.home / 'config.toml'}, "
            "then `rune engine stop`: its service starts it again.",
        )
    shown.access(status.base_url)
    err.print("An engine that stays serves it already.")


def _with_port(port: int | None) -> RuneConfig:
    config = load_config()
    if port is None:
        port = DEFAULT_PORT if config.openai_port is None else config.openai_port
    return config.model_copy(update={"openai_port": port})


class _Shown:
    """What the starting engine tells, for whoever looks at the terminal."""

    def __init__(self, config: RuneConfig, model: str, as_json: bool) -> None:
        self._config = config
        self._model = model
        self._as_json = as_json
        self.error: RuneError | None = None

    def __call__(self, line: dict[str, Any]) -> None:
        if line["event"] == "error":
            self.error = from_envelope(line)
            return
        status = OpenAIStatus.model_validate(line["openai"])
        if status.base_url is None:
            raise EngineUnavailableError(status.detail)
        self.access(status.base_url)
        if not self._as_json:
            err.print("It answers until Ctrl-C.")

    def access(self, base_url: str) -> None:
        from rune_engine.service.openai.key import api_key

        access = Access(base_url, api_key(self._config), self._model)
        if self._as_json:
            text = json.dumps({"base_url": base_url, "key": access.key, "model": access.model})
        else:
            text = settings(access)
        out.print(text, markup=False, highlight=False, soft_wrap=True)
