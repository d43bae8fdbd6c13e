"""What a client reads when something is refused: what is wrong, and what to do next.

Words of Rune's own; what the caller sent, or a session recorded, appears in them spelled out and
cut, and nothing of the insides does. Knows the SDK's errors, not what the tools do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from mcp.server.mcpserver.exceptions import (
    ResourceError,
    ResourceNotFoundError,
    ToolError,
    UnexpectedToolError,
)
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS
from pydantic import ValidationError

from rune_engine.errors import InvalidInputError, NotFoundError, RuneError
from rune_engine.harmless import harmless, one_line

log = logging.getLogger(__name__)

MAX_CHARS = 3000
"""Longest refusal."""
_NAME_CHARS = 80
_SHOWN = 10


def tool_error(tool: str, error: ToolError) -> ToolError:
    """A tool's failure in words for its caller."""
    cause = error.__cause__
    if isinstance(cause, RuneError):
        return said(cause)
    if isinstance(cause, ValidationError):
        return ToolError(harmless(wrong_arguments(tool, cause), MAX_CHARS))
    if isinstance(error, UnexpectedToolError):
        return UnexpectedToolError(
            f"{tool} failed inside Rune, which is a defect; please report it. Look at"
            " `memory_status` before you call it again."
        )
    return ToolError(harmless(str(error), MAX_CHARS))


def said(error: RuneError) -> ToolError:
    """An error of Rune's own as a tool's."""
    return ToolError(harmless(str(error), MAX_CHARS))


def protocol_error(error: RuneError) -> MCPError:
    """An error of Rune's own, for what is no tool."""
    theirs = isinstance(error, InvalidInputError | NotFoundError)
    code = INVALID_PARAMS if theirs else INTERNAL_ERROR
    return MCPError(code, harmless(str(error), MAX_CHARS))


def resource_error(address: str, error: ResourceError) -> ResourceError:
    """A resource's failure in words for its reader."""
    if isinstance(error.__cause__, RuneError):
        return type(error)(harmless(str(error.__cause__), MAX_CHARS))
    if isinstance(error, ResourceNotFoundError):
        shown = one_line(address, _NAME_CHARS)
        return ResourceNotFoundError(
            f"There is no resource {shown!r}. List the resources and their templates to see which"
            " there are."
        )
    return error


def prompt_error(name: str, error: ValueError, known: Iterable[str]) -> MCPError:
    """A prompt that cannot be made, in words for its caller."""
    cause = _first_cause(error)
    names = list(known)
    if isinstance(cause, RuneError):
        text = str(cause)
    elif name not in names:
        shown = one_line(name, _NAME_CHARS)
        text = f"There is no prompt {shown!r}. Use one of these: {', '.join(names) or 'none'}."
    elif isinstance(cause, ValidationError):
        text = wrong_arguments(name, cause)
    else:
        log.error("The prompt %s failed", name, exc_info=error)
        text = f"{name} cannot be made of these arguments. List the prompts to see what it takes."
    return MCPError(INVALID_PARAMS, harmless(text, MAX_CHARS))


def _first_cause(error: BaseException) -> BaseException:
    """The error that all others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def unknown_tool(name: str, known: Iterable[str]) -> MCPError:
    """A tool was called that there is none of: the protocol's error, not a tool's."""
    shown = one_line(name, _NAME_CHARS)
    return MCPError(
        INVALID_PARAMS, f"Unknown tool: {shown!r}. Use one of these: {', '.join(known)}."
    )


def unknown_parameters(tool: str, strange: list[str], known: Iterable[str]) -> InvalidInputError:
    """A tool was given what it does not take."""
    names = ", ".join(repr(one_line(name, _NAME_CHARS)) for name in strange[:_SHOWN])
    more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    return InvalidInputError(
        f"{tool} has no parameter {names}{more}.",
        next_step=f"Its parameters are: {', '.join(known) or 'none'}.",
    )


def wrong_arguments(tool: str, error: ValidationError) -> str:
    """What is wrong with each argument, in words, without the rejected values."""
    wrong = [
        f"{_place(detail['loc'])}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return (
        f"{tool} cannot accept these arguments. {'; '.join(wrong[:_SHOWN])}{more}. Nothing was"
        " done. Correct them and call it again."
    )


def _place(parts: tuple[int | str, ...]) -> str:
    """Where in the arguments; a key is the caller's own text."""
    return one_line(".".join(str(part) for part in parts), _NAME_CHARS) or "arguments"
