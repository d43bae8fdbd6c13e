"""Which memory answers: told by the model's name, with the task from its name or the headers.

`rune` lets the router choose for the project that the request names (`X-Rune-Project`, or the
configured one; without either the text may tell), `rune@PROJECT` for that project; `rune:ADAPTER`
is one adapter, `rune:base` none.
Every client lets its user set the model's name, so that is where a project always fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from rune_engine.errors import AdapterBaseModelMismatchError
from rune_engine.inference.provider import AdapterRef, GenerationRequest
from rune_engine.models import Identifier, Name, RetrieveParams
from rune_engine.registry import AdapterRegistry
from rune_engine.registry.registry import MAX_PAGE
from rune_engine.routing import Router
from rune_engine.service.openai.refusals import Refusal, no_such_model

ROUTED = "rune"
BASE = "rune:base"
_LONGEST_TEXT = 20_000

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
_HEADERS = {
    "project_id": "x-rune-project",
    "domain": "x-rune-domain",
    "task_type": "x-rune-task-type",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for: an adapter by its id, the base model, or the router's choice."""

    adapter_id: str | None = None
    task: RetrieveParams | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The memory that answers, or none, and why; `project_id` is whom the router chose for."""

    adapter: AdapterRef | None
    reason: str
    project_id: str | None = None

    @property
    def model(self) -> str:
        """The model's name by which the same choice can be asked for again."""
        return BASE if self.adapter is None else f"{ROUTED}:{self.adapter.id}"


def wanted(model: str, headers: Mapping[str, str], default_project: str | None) -> Wanted:
    """Read a request's model name and headers.

    Raises:
        Refusal: there cannot be such a model, or a header is not a name.
    """
    if model == BASE:
        return Wanted()
    if model.startswith(f"{ROUTED}:"):
        return Wanted(adapter_id=_valid(_IDENTIFIER, model.removeprefix(f"{ROUTED}:"), model))
    task = _task(headers)
    if model.startswith(f"{ROUTED}@"):
        task["project_id"] = _valid(_NAME, model.removeprefix(f"{ROUTED}@"), model)
    elif model != ROUTED:
        raise no_such_model(model)
    project_id = task.pop("project_id", None) or default_project
    return Wanted(task=RetrieveParams(project_id=project_id, **task))


def _task(headers: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for field, header in _HEADERS.items():
        if value := headers.get(header, "").strip():
            try:
                found[field] = _NAME.validate_python(value)
            except ValidationError as error:
                raise Refusal(f"The header {header} is not a name.", param=header) from error
    return found


def _valid(kind: TypeAdapter[str], text: str, model: str) -> str:
    try:
        return kind.validate_python(text)
    except ValidationError as error:
        raise no_such_model(model) from error


def choose(
    asked: Wanted, registry: AdapterRegistry, router: Router, base_model_id: str, text: str
) -> Choice:
    """Find the memory, and verify its files. Reads the database and the disk.

    Args:
        text: what the request asks for, in its user's words.

    Raises:
        AdapterNotFoundError: there is no such adapter.
        AdapterForgottenError: something that it learnt from was forgotten.
        AdapterCorruptedError: its files are not what was stored.
        AdapterBaseModelMismatchError: it was made for another base model.
    """
    if asked.adapter_id is not None:
        return Choice(_made_for(registry, asked.adapter_id, base_model_id), "The caller named it.")
    if asked.task is None:
        return Choice(None, "The caller asked for the base model alone.")
    task = asked.task
    found = router.retrieve(task.project_id, task.domain, task.task_type, base_model_id, text)
    if found.adapter is None:
        return Choice(None, found.reason, task.project_id)
    adapter = registry.verified_ref(found.adapter.id)
    return Choice(adapter, found.reason, found.adapter.project_id)


def asked_text(requests: Sequence[GenerationRequest]) -> str:
    """What a request asks for, to find its memory by: the user's last words, or the prompt's."""
    first = requests[0]
    if first.prompt is not None:
        return first.prompt[-_LONGEST_TEXT:]
    own = [message.content for message in first.messages if message.role == "user"]
    return own[-1][:_LONGEST_TEXT] if own else ""


def _made_for(registry: AdapterRegistry, adapter_id: str, base_model_id: str) -> AdapterRef:
    adapter = registry.verified_ref(adapter_id)
    if adapter.base_model_id != base_model_id:
        raise AdapterBaseModelMismatchError(
            f"Adapter {adapter_id} was made for the base model {adapter.base_model_id!r}; this "
            f"endpoint serves {base_model_id!r}.",
            next_step="GET /v1/models lists the adapters that can answer here.",
        )
    return adapter


def models(registry: AdapterRegistry, base_model_id: str) -> Iterator[tuple[str, int]]:
    """Every name that can be asked for, and when it came to be, in seconds since 1970."""
    page = registry.page(base_model_id=base_model_id, limit=MAX_PAGE)
    ages = {adapter.id: _seconds(adapter.created_at) for adapter in page.adapters}
    yield ROUTED, 0
    yield BASE, 0
    newest: dict[str, int] = {}
    for adapter in page.adapters:
        newest.setdefault(adapter.project_id, ages[adapter.id])
    yield from ((f"{ROUTED}@{project_id}", age) for project_id, age in newest.items())
    yield from ((f"{ROUTED}:{adapter_id}", age) for adapter_id, age in ages.items())


def _seconds(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp())
