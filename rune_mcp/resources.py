"""What the server offers to read: the memory as `rune://` resources, in JSON.

The list never changes, so showing it needs no engine. Loaded at the first request for it. Knows the
addresses and what touches them; `reading` asks the engine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from mcp.types import Annotations, Resource, ResourceTemplate
from pydantic import TypeAdapter, ValidationError

from rune_engine.models import Changes, Identifier, Name

SCHEME = "rune://"
JSON = "application/json"
_ADDRESS = re.compile(r"rune://([a-z]+)(?:/(.+))?", re.DOTALL)


@dataclass(frozen=True)
class Kind:
    """One kind of resource: the list of all, and, unless `one` is empty, each of them."""

    name: str
    title: str
    all: str
    parameter: str = ""
    one_title: str = ""
    one: str = ""


KINDS = (
    Kind(
        "adapters",
        "Adapters",
        "The adapters in use, the newest first: at most 50, and how many there are.",
        "adapter_id",
        "Adapter",
        "One adapter: its metadata, and what was measured of it.",
    ),
    Kind(
        "trajectories",
        "Trajectories",
        "What was recorded, the newest first: at most 50 tasks and how they ended. Recorded data.",
        "trajectory_id",
        "Trajectory",
        "One trajectory: task, attempts, outcome, and where it came from. Recorded data; long "
        "texts are cut.",
    ),
    Kind(
        "projects",
        "Projects",
        "The projects that something is held of, the largest first: at most 50.",
        "project_id",
        "Project",
        "One project: what is held of it, its newest adapters and trajectories.",
    ),
    Kind(
        "jobs",
        "Jobs",
        "The newest 20 jobs and where they stand.",
        "job_id",
        "Job",
        "One job: status, progress, and its result or error.",
    ),
    Kind("history", "History", "The newest 50 decisions and changes, with their numbers."),
)
_ID: TypeAdapter[str] = TypeAdapter(Identifier)
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_OF_NAME = {kind.name: kind for kind in KINDS}


def resources() -> list[Resource]:
    """The lists, which are always the same."""
    return [
        Resource(
            uri=SCHEME + kind.name,
            name=kind.name,
            title=kind.title,
            description=kind.all,
            mime_type=JSON,
            annotations=Annotations(audience=["user", "assistant"]),
        )
        for kind in KINDS
    ]


def templates() -> list[ResourceTemplate]:
    """The addresses of single ones, in which a project's id keeps its slashes."""
    return [
        ResourceTemplate(
            uri_template=template_of(kind),
            name=kind.parameter.removesuffix("_id"),
            title=kind.one_title,
            description=kind.one,
            mime_type=JSON,
            annotations=Annotations(audience=["user", "assistant"]),
        )
        for kind in KINDS
        if kind.one
    ]


def template_of(kind: Kind) -> str:
    """The address of one of a kind, as RFC 6570 writes it."""
    operator = "+" if kind.name == "projects" else ""
    return f"{SCHEME}{kind.name}/{{{operator}{kind.parameter}}}"


@dataclass(frozen=True)
class Address:
    """What an URI names: a kind, and the id of one, or None for the list."""

    kind: str
    id: str | None


def parse(uri: str) -> Address | None:
    """What `uri` names; None for what is no address here, such as an id that spells a path."""
    found = _ADDRESS.fullmatch(uri)
    if found is None or (kind := _OF_NAME.get(found[1])) is None:
        return None
    if found[2] is None:
        return Address(kind.name, None)
    if not kind.one:
        return None
    allowed = _NAME if kind.name == "projects" else _ID
    try:
        return Address(kind.name, allowed.validate_python(unquote(found[2])))
    except ValidationError:
        return None


def is_touched(address: Address, changes: Changes) -> bool:
    """Whether what `address` names may read differently after `changes`."""
    if address.kind == "history":
        return changes.history
    named: list[str] = getattr(changes, address.kind)
    if address.id is not None and address.id in named:
        return True
    if address.kind == "trajectories" and changes.erased:
        return True
    return address.id is None and bool(named)
