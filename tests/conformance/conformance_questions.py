"""What the conformance suite asks a server to have: tools that ask their caller something.

In 2025-11-25 they send it a request of their own while it waits; in 2026-07-28 they return what
they need, and are called again with it. The names and values are the suite's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel, Field

Given = dict[str, Any]
Answer = str | InputRequiredResult


def add_questions(server: MCPServer[None]) -> None:
    """Put every tool that asks, and the prompt that does, on `server`."""
    for name, needs, state in ASKING:
        tool = _asking(needs, state)
        server.add_tool(
            tool,
            name=f"test_input_required_result_{name}",
            description=name,
            structured_output=False,
        )
    for asks in (
        test_input_required_result_multi_round,
        test_input_required_result_capabilities,
        test_streaming_elicitation,
        test_sampling,
        test_elicitation,
        test_elicitation_sep1034_defaults,
        test_elicitation_sep1330_enums,
    ):
        server.add_tool(asks, structured_output=False)

    @server.prompt()
    async def test_input_required_result_prompt(
        context: Context[Any, Any],
    ) -> list[UserMessage] | InputRequiredResult:
        """Needs a context first."""
        needs = {"user_context": _form("What context should the prompt use?", "context")}
        if not _all_answered(needs, given := dict(context.input_responses or {})):
            return InputRequiredResult(input_requests=needs)
        said = given["user_context"].content["context"]
        return [UserMessage(TextContent(type="text", text=f"Use this: {said}"))]


def _form(message: str, field: str, kind: str = "string") -> ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(
        params=CreateMessageRequestParams(messages=[message], max_tokens=100)
    )


NAME = _form("What is your name?", "name")
CONFIRM = _form("Please confirm", "ok", "boolean")
ASKING: list[tuple[str, dict[str, InputRequest], str | None]] = [
    ("elicitation", {"user_name": NAME}, None),
    ("sampling", {"capital_question": _sample("What is the capital of France?")}, None),
    ("list_roots", {"client_roots": ListRootsRequest()}, None),
    ("request_state", {"confirm": CONFIRM}, "a state"),
    ("tampered_state", {"confirm": CONFIRM}, "another state"),
    (
        "multiple_inputs",
        {"user_name": NAME, "greeting": _sample("Greet me."), "client_roots": ListRootsRequest()},
        "a third state",
    ),
]
"""Name, what it needs, and the state that it wants back."""


def _asking(needs: dict[str, InputRequest], state: str | None) -> Callable[..., Any]:
    async def ask(context: Context[None, Any]) -> Answer:
        given = dict(context.input_responses or {})
        if not _all_answered(needs, given) or context.request_state != state:
            return InputRequiredResult(input_requests=needs, request_state=state)
        return f"state-ok: {', '.join(f'{key} said {_said(given[key])}' for key in needs)}"

    return ask


def _all_answered(needs: dict[str, InputRequest], given: Given) -> bool:
    return needs.keys() <= given.keys()


def _said(answer: Any) -> str:
    if isinstance(answer, ElicitResult):
        return f"{answer.action} {answer.content}"
    return str(answer.model_dump_json(exclude_none=True))


async def test_input_required_result_multi_round(context: Context[None, Any]) -> Answer:
    """Asks for a name, then for a colour, and knows the name from its state by then."""
    given = dict(context.input_responses or {})
    if context.request_state == "asked for the name" and "step1" in given:
        name = given["step1"].content["name"]
        color = _form("Step 2: What is your favorite color?", "color")
        return InputRequiredResult(input_requests={"step2": color}, request_state=f"name: {name}")
    if (context.request_state or "").startswith("name: ") and "step2" in given:
        return f"{context.request_state}, colour: {given['step2'].content['color']}"
    return InputRequiredResult(input_requests={"step1": NAME}, request_state="asked for the name")


async def test_input_required_result_capabilities(context: Context[None, Any]) -> Answer:
    """Asks only for what the client says that it can do."""
    offered = context.client_capabilities
    needs: dict[str, InputRequest] = {}
    if offered is not None and offered.sampling is not None:
        needs["sample"] = _sample("Say hello.")
    if offered is not None and offered.elicitation is not None:
        needs["ask"] = NAME
    return InputRequiredResult(input_requests=needs, request_state="asked")


async def test_streaming_elicitation(context: Context[None, Any]) -> Answer:
    """Streams before it asks."""
    await context.report_progress(1, 2)
    if context.input_responses:
        return "answered"
    return InputRequiredResult(input_requests={"user_name": NAME})


async def test_sampling(prompt: str, context: Context[None, Any]) -> str:
    """Lets the client's model answer."""
    on_this_stream = ServerMessageMetadata(related_request_id=context.request_id)
    sent = await context.session.send_request(
        _sample(prompt), CreateMessageResult, metadata=on_this_stream
    )
    return f"LLM response: {sent.content}"


async def test_elicitation(message: str, context: Context[None, Any]) -> str:
    """Asks the client's user."""
    return await _elicit(context, message, _Reply)


async def test_elicitation_sep1034_defaults(context: Context[None, Any]) -> str:
    """Asks with a default for every kind of field."""
    return await _elicit(context, "Who are you?", _WithDefaults)


async def test_elicitation_sep1330_enums(context: Context[None, Any]) -> str:
    """Asks with every kind of choice."""
    return await _elicit(context, "Which?", _Choices)


async def _elicit(context: Context[None, Any], message: str, model: type[BaseModel]) -> str:
    result = await context.elicit(message, model)
    content = result.data.model_dump_json() if result.action == "accept" else "{}"
    return f"User response: action={result.action}, content={content}"


class _Reply(BaseModel):
    response: str


class _WithDefaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive", "pending"] = "active"
    verified: bool = True


def _titled(*values: str) -> list[dict[str, str]]:
    return [{"const": value, "title": value.title()} for value in values]


LEVELS = ["low", "medium", "high"]


class _Choices(BaseModel):
    untitledSingle: str = Field(json_schema_extra={"enum": LEVELS})
    titledSingle: str = Field(json_schema_extra={"oneOf": _titled(*LEVELS)})
    untitledMulti: list[str] = Field(
        json_schema_extra={"items": {"type": "string", "enum": LEVELS}}
    )
    titledMulti: list[str] = Field(json_schema_extra={"items": {"anyOf": _titled(*LEVELS)}})
    legacyEnum: str = Field(
        json_schema_extra={"enum": LEVELS, "enumNames": [level.title() for level in LEVELS]}
    )
