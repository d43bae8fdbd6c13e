"""What `rune-mcp` does when it is given arguments: streamable HTTP, its token, help.

Without any it speaks over stdio, and nothing of this is loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from rune_engine import __version__
from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import InvalidInputError, RuneError
from rune_engine.home import prepare_home
from rune_engine.http_server import LOOPBACK, loopback_socket
from rune_engine.secret_file import own_secret
from rune_mcp.server import attach, build_server

DEFAULT_PORT = 7864
"""After that of OpenAI's API, which is RUNE on a telephone's keys."""

_HOSTS = {LOOPBACK: LOOPBACK, "localhost": LOOPBACK, "::1": "::1"}


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say. Returns the exit code: 0, or 1 after an error, told on stderr."""
    given = _parser().parse_args(arguments)
    try:
        if given.show_token:
            print(token(load_config()))
        elif given.http:
            return _serve_http(given.host, given.port)
        else:
            raise InvalidInputError(
                "--host and --port are for streamable HTTP.",
                next_step="Say --http, too; or nothing, for stdio.",
            )
    except RuneError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def token(config: RuneConfig) -> str:
    """What clients over HTTP show: one a home, made at first use.

    Raises:
        StorageError: the home cannot be written, or others could read the token.
    """
    prepare_home(config)
    return own_secret(config.mcp_token_path)


def _serve_http(host: str, port: int) -> int:
    if host not in _HOSTS:
        raise InvalidInputError(
            f"{host} is not an address of this machine alone, and Rune is served on no other.",
            next_step="Leave --host out. From another machine, forward the port: "
            f"`ssh -L {port}:{LOOPBACK}:{port} HOST`.",
        )
    # Loaded here: whoever only wants the token pays nothing for it.
    from rune_mcp.http.serving import listen, serve

    shown = token(load_config())
    next_step = "Choose another one with --port; 0 is any free one."
    with loopback_socket(port, next_step, _HOSTS[host]) as listener:
        print(listen(listener), flush=True)
        print("Rune answers there until Ctrl-C, to clients that show its token:", file=sys.stderr)
        print("`rune-mcp --show-token`.", file=sys.stderr, flush=True)
        asyncio.run(serve(build_server(attach), shown, listener))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rune-mcp",
        description="Rune's MCP server. Without arguments it speaks over stdin and stdout.",
    )
    parser.add_argument("--version", action="version", version=f"rune-mcp {__version__}")
    parser.add_argument(
        "--http", action="store_true", help="speak streamable HTTP on a loopback port instead"
    )
    parser.add_argument("--host", default=LOOPBACK, help=f"a loopback address ({LOOPBACK})")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}; 0: any free one"
    )
    parser.add_argument(
        "--show-token", action="store_true", help="print the token that HTTP clients send, and end"
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)
