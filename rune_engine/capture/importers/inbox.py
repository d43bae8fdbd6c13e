"""The drop folder: sessions that any program writes, in Rune's own schema (`docs/capture.md`).

A `.json` file is one session, a `.jsonl` file one a line. What the schema does not know is passed
over; a session that breaks it is refused and costs no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rune_engine.capture.fields import mapping
from rune_engine.capture.files import json_document, json_lines
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.steps import Command, Edit, Prompt, Reading, Session, Step
from rune_engine.models import ExitCode, Name, Text

SCHEMA = "rune.session/1"
_Named = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Open(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PromptStep(_Open):
    """What the user asked for. It begins a task if edits follow."""

    type: Literal["prompt"]
    text: Text


class EditStep(_Open):
    """A change of a file that was made."""

    type: Literal["edit"]
    path: _Named
    new: Text = Field(description="The text that was written.")
    old: Text | None = Field(
        default=None, description="What it replaces; left out, `new` is the whole file."
    )


class CommandStep(_Open):
    """A command that ended."""

    type: Literal["command"]
    command: Text
    stdout: Text = ""
    stderr: Text = ""
    exit_code: ExitCode | None = Field(default=None, description="Left out where it is not known.")


class InboxSession(_Open):
    """One session of a coding agent, for the drop folder."""

    schema_: Literal["rune.session/1"] = Field(alias="schema")
    agent: Name = Field(description="Who worked, such as `my-agent`.")
    session_id: _Named = Field(description="The agent's own name for the session, always the same.")
    cwd: _Named | None = Field(
        default=None, description="The absolute path of the folder it worked in: says the project."
    )
    project: Name | None = Field(default=None, description="The project's id, instead of `cwd`.")
    ended: bool = Field(default=True, description="False while the session may go on.")
    steps: list[Annotated[PromptStep | EditStep | CommandStep, Field(discriminator="type")]] = (
        Field(description="What happened, in order.", max_length=10_000)
    )


def json_schema() -> dict[str, Any]:
    """The JSON schema of a session in the drop folder."""
    return InboxSession.model_json_schema(by_alias=True)


def unit_of(path: Path) -> Path | None:
    named = path.suffix in (".json", ".jsonl") and not path.name.startswith(".")
    return path if named else None


def recognises(path: Path, head: bytes) -> bool:
    return unit_of(path) is not None and SCHEMA.encode() in head


def read(path: Path) -> Reading:
    """The sessions of a file. Raises InvalidInputError."""
    reading = Reading()
    for record, whole in _records(path, reading):
        if not whole:
            continue
        try:
            found = InboxSession.model_validate(record)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            reading.skip(f"session: {where}: {first['msg']}")
        else:
            reading.take("session")
            reading.sessions.append(_session(found))
    return reading


def _records(path: Path, reading: Reading) -> Iterator[tuple[dict[str, Any], bool]]:
    if path.suffix == ".jsonl":
        for record in json_lines(path, reading):
            yield record, True
    else:
        document, whole = json_document(path, reading)
        yield mapping(document), whole


def _session(found: InboxSession) -> Session:
    return Session(
        agent=found.agent,
        id=found.session_id,
        steps=tuple(map(_step, found.steps)),
        cwd=found.cwd,
        ended=found.ended,
        project=found.project,
    )


def _step(step: PromptStep | EditStep | CommandStep) -> Step:
    if isinstance(step, PromptStep):
        return Prompt(step.text)
    if isinstance(step, EditStep):
        return Edit(step.path, step.new, old=step.old or None, whole=step.old is None)
    return Command(step.command, step.stdout, step.stderr, step.exit_code)


IMPORTER = Importer("inbox", unit_of, recognises, read)
