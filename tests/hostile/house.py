"""A home with a real engine and the real server in front of it, and what may not happen to either.

Every call goes through `House`, which looks at what came back; `House.end` looks at what is left.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_files import draft as adapter_draft
from adapter_files import weights
from engine_support import draft, end_engines, engines, scripted_config
from mcp import Client, MCPError
from mcp.types import METHOD_NOT_FOUND, PromptReference, ResourceTemplateReference

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.doctor import examine
from rune_engine.models import FINISHED
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore
from rune_mcp.server import build_server

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
WAIT_SECONDS = 100.0
"""Bound of one call; nothing here takes so long unless it hangs."""

INNER = re.compile(
    r"Traceback|\bFile \"|site-packages|\.py\b.{0,3}\bline \d|<class '|object at 0x|pydantic"
    r"|sqlite3\.|Internal server error|failed over|please report|" + re.escape(str(REPOSITORY))
)
"""What no client may be shown: where our code is, and how it failed."""
ADVICE = re.compile(
    r"\b(?:Add|Correct|Send|Give|Use|Look|See|Name|Wait|Run|Read|Record|List|Choose|Try|Remove|Write"
    r"|Make|Pass|Ask|Call|Allow|Cancel|Restore|Distill|Start|Install|Leave|Set|Pull|Shorten|Take"
    r"|parameters are|arguments are|Known are|are known|They are|It is|It has)\b"
)
"""Words in which a refusal says what to do next, or what there is instead."""


def in_memory(config: RuneConfig) -> Client:
    """A client of a server in this process; the engine is real."""
    return Client(build_server(lambda: EngineClient(config)))


@dataclass(frozen=True)
class Home:
    """A furnished home that is watched.

    Args:
        known: everything that is the name of something in it.
        writes: the log of what was written outside it.
        before: the files outside as they were.
    """

    config: RuneConfig
    outside: Path
    known: list[str]
    writes: Path
    before: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Visitor:
    """Somebody who calls the server of a home, from a thread of its own."""

    house: House
    run: Callable[[Coroutine[Any, Any, Any]], Any]


class House:
    """One home, its engine and its server.

    Args:
        outside: a folder beside the home, with files that nothing may touch.
    """

    def __init__(self, config: RuneConfig, outside: Path, client: Client) -> None:
        self.config = config
        self.outside = outside
        self.client = client
        self.calls = 0
        self.refused = 0
        self.jobs: list[str] = []

    async def tool(self, name: str, arguments: dict[str, Any]) -> None:
        """Call a tool; a job that it leaves is cancelled."""
        answer = await self._bounded(self.client.call_tool(name, _impatient(arguments)))
        if answer is None:
            return
        text = "".join(getattr(part, "text", "") for part in answer.content)
        if answer.is_error:
            self.refused += 1
            check_refusal(f"{name} {arguments!r:.400}", text)
            return
        found = answer.structured_content or {}
        job, status = found.get("job_id") or found.get("id"), found.get("status")
        if isinstance(job, str) and isinstance(status, str) and status not in FINISHED:
            self.jobs.append(job)
            await self.tool("cancel_job", {"job_id": job})

    async def resource(self, address: str) -> None:
        await self._bounded(self.client.read_resource(address))

    async def prompt(self, name: str, arguments: dict[str, str]) -> None:
        await self._bounded(self.client.get_prompt(name, arguments))

    async def complete(self, of: tuple[str, str], argument: dict[str, str]) -> None:
        kind, name = of
        made = PromptReference(name=name) if kind == "prompt" else None
        reference = made or ResourceTemplateReference(uri=name)
        await self._bounded(self.client.complete(reference, argument))

    async def _bounded(self, call: Any) -> Any:
        """What a call answers; None when the protocol itself refused it, in checked words."""
        self.calls += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await call
        except MCPError as error:
            self.refused += 1
            if error.code != METHOD_NOT_FOUND:  # which says all there is to say
                check_refusal("a request", error.message)
            return None

    async def is_well(self) -> None:
        """The engine of this home is the one that it was, and answers."""
        (engine,) = engines(self.config)
        async with EngineClient(self.config) as client:
            health = await client.health()
        assert health.pid == engine.pid


def check_refusal(what: str, text: str) -> None:
    """A refusal is short, says what to do, and nothing of the insides."""
    assert not INNER.search(text), f"{what}: {text[:2000]}"
    assert ADVICE.search(text), f"{what} is refused without advice: {text[:2000]}"
    assert len(text) < 4000, f"{what}: {len(text)} characters"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), f"{what}: {text[:500]!r}"


def _impatient(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with no long wait among them."""
    wait = arguments.get("wait_seconds")
    if isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait <= 600:
        return {**arguments, "wait_seconds": 0}
    return arguments


@contextmanager
def watched_home(folder: Path, environ: Any) -> Iterator[tuple[RuneConfig, Path, Path]]:
    """A home with a life behind it, the files outside it, and the log of writes outside it."""
    outside, scratch, person = (folder / name for name in ("outside", "scratch", "person"))
    for each in (outside, scratch, person):
        each.mkdir()
    for number, name in enumerate(("secret.txt", "suite.jsonl", "model.gguf")):
        (outside / name).write_text(f"outside {number}\n")
    os.mkfifo(outside / "fifo")
    config = scripted_config(folder, idle_seconds=600.0)
    log = folder / "writes.log"
    log.touch()
    environ("RUNE_TEST_WRITES", str(log))
    own = (config.home, scratch / "rune-box-", person / ".rune-probe-", "/dev/null", "/proc/self")
    environ("RUNE_TEST_WRITABLE", os.pathsep.join(map(str, own)))
    environ("TMPDIR", str(scratch))
    environ("HOME", str(person))
    watched = str(HERE / "watched")
    environ("PYTHONPATH", os.pathsep.join((watched, str(REPOSITORY))))
    try:
        yield config, outside, log
    finally:
        end_engines(config)


def furnish(config: RuneConfig, outside: Path) -> list[str]:
    """Put adapters, trajectories and a project into a home; every name that means something."""
    with closing(open_database(config)) as database:
        registry, trajectories = AdapterRegistry(database, config), TrajectoryStore(database)
        drafts = [draft(number) for number in range(4)]
        roles = {trajectories.record(each)[0].id: "kept_back" for each in drafts}
        for seed, name in enumerate(("good", "other", "gone")):
            made = adapter_draft(id=name, project_id="shop", base_model_id="scripted")
            registry.store(made, weights(seed), learnt_from=roles)  # type: ignore[arg-type]
        registry.archive("gone", reason="a better one came")
    paths = [str(path) for path in sorted(outside.iterdir())]
    return [*roles, *paths, str(outside), "good", "other", "gone", "shop", "session-1"]


def left_behind(config: RuneConfig, outside: Path, before: dict[str, tuple[int, int]]) -> None:
    """Nothing outside was touched, and the doctor finds nothing wrong with what is inside."""
    assert state_of(outside) == before
    for emptied in ("scratch", "person"):
        assert not list((outside.parent / emptied).iterdir())
    report = examine(config)
    assert not report.findings, report.findings


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder: its size and when it last changed."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def as_json(value: Any) -> bytes:
    """JSON as Python spells it, NaN and halves of surrogate pairs included."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
