"""The tools an editor's agent sees: each is one typed operation of the engine.

A class a room, one method a tool. Knows nothing of MCP's transport.
"""

from __future__ import annotations

import inspect
from typing import Any

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from rune_mcp.engine import Engine
from rune_mcp.panel import PANEL_URI
from rune_mcp.tools.adapters import AdapterTools
from rune_mcp.tools.judging import JudgingTools
from rune_mcp.tools.looking import LookingTools
from rune_mcp.tools.steering import SteeringTools
from rune_mcp.tools.trajectories import TrajectoryTools
from rune_mcp.tools.work import WorkTools


class Tools(WorkTools, TrajectoryTools, AdapterTools, JudgingTools, SteeringTools, LookingTools):
    """Every tool, by its name."""


def _hints(*, reads: bool = False, destroys: bool = False, idempotent: bool) -> ToolAnnotations:
    """No tool reaches beyond this machine."""
    return ToolAnnotations(
        read_only_hint=reads,
        destructive_hint=destroys,
        idempotent_hint=idempotent,
        open_world_hint=False,
    )


_READS = _hints(reads=True, idempotent=True)
_ADDS = _hints(idempotent=False)
_ADDS_ONCE = _hints(idempotent=True)
_ENDS = _hints(destroys=True, idempotent=True)

TOOLS = {
    "run_task": ("Run a task on the local model", _ADDS),
    "retrieve_adapter": ("Find the best adapter", _READS),
    "record_trajectory": ("Record a coding trajectory", _ADDS_ONCE),
    "list_trajectories": ("List recorded trajectories", _READS),
    "get_trajectory": ("Show a recorded trajectory", _READS),
    "list_adapters": ("List adapters", _READS),
    "get_adapter": ("Show an adapter", _READS),
    "distill": ("Distill trajectories into an adapter", _ADDS),
    "evaluate_adapter": ("Measure an adapter", _ADDS),
    "compare_adapters": ("Compare two adapters", _ADDS),
    "evolve_memory": ("Decide which adapters stay in use", _ADDS),
    "archive_adapter": ("Take an adapter out of use", _ADDS_ONCE),
    "restore_adapter": ("Put an adapter in use again", _ADDS_ONCE),
    "undo_decision": ("Take a decision back", _ADDS_ONCE),
    "get_job": ("Show a job", _READS),
    "cancel_job": ("Cancel a job", _ENDS),
    "memory_status": ("Show the memory's status", _READS),
    "show_memory": ("Show jobs, adapters and what helped", _READS),
    "get_history": ("Show what was decided", _READS),
    "forget_memory": ("Forget a project or a session", _ENDS),
}
"""Name, title and hints of every tool, in the order in which they are listed."""

_META: dict[str, dict[str, Any]] = {"show_memory": {"ui": {"resourceUri": PANEL_URI}}}
"""What hosts that show MCP Apps draw a tool's answer with."""


def add_tools(server: MCPServer[None], engine: Engine) -> None:
    """Put every tool on `server`."""
    tools = Tools(engine)
    for name, (title, hints) in TOOLS.items():
        method = getattr(tools, name)
        server.add_tool(
            method,
            title=title,
            description=inspect.getdoc(method),
            annotations=hints,
            meta=_META.get(name),
            structured_output=True,
        )
