"""What the conformance suite asks a server to have: contents of every kind, under its names.

The names and values are the suite's. Put on Rune's own server, so that they go through its code.
"""

from __future__ import annotations

import base64
import json
import warnings
from typing import Annotated, Any

import anyio
from mcp import MCPDeprecationWarning
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

PIXEL = (  # a PNG of one
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
Region = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]
IMAGE = ImageContent(type="image", data=PIXEL, mime_type="image/png")
AUDIO = AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return EmbeddedResource(type="resource", resource=contents)


ANSWERS: dict[str, list[Any]] = {
    "test_simple_text": [_text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [AUDIO],
    "test_embedded_resource": [
        _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        _text("Multiple content types test:"),
        IMAGE,
        _embedded("test://mixed-content-resource", "application/json", '{"test": "data"}'),
    ],
}
"""Tools that always give the same answer."""


def add_contents(server: MCPServer[None]) -> None:
    """Put the tools, resources and prompts that only answer on `server`."""
    for name, contents in ANSWERS.items():
        server.add_tool(_answering(contents), name=name, description=name, structured_output=False)
    for tool in (
        test_error_handling,
        test_tool_with_progress,
        test_missing_capability,
        test_logging_tool,
        test_x_mcp_header,
        test_trigger_tool_change,
        test_trigger_prompt_change,
    ):
        server.add_tool(tool, structured_output=False)
    _add_resources(server)
    _add_prompts(server)


def _answering(contents: list[Any]) -> Any:
    async def answer() -> list[Any]:
        return contents

    return answer


async def test_error_handling() -> str:
    """Fails."""
    raise RuntimeError("This tool intentionally returns an error for testing")


async def test_tool_with_progress(context: Context[None, Any]) -> str:
    """Reports progress thrice."""
    for progress in (0, 50, 100):
        await context.report_progress(progress, 100)
        await anyio.sleep(0.05)
    return "done"


async def test_missing_capability(context: Context[None, Any]) -> str:
    """Needs a client that offers sampling."""
    offered = context.client_capabilities
    if offered is None or offered.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs sampling.",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return "The client offers sampling."


async def test_logging_tool(context: Context[None, Any]) -> str:
    """Logs over the protocol, which a client that did not ask for it must not see."""
    with warnings.catch_warnings(action="ignore", category=MCPDeprecationWarning):
        await context.info("a line that nobody asked for")
    return "logged"


async def test_x_mcp_header(region: Region = "none") -> str:
    """Has a parameter that HTTP clients send as a header, too."""
    return f"region={region}"


async def test_trigger_tool_change(context: Context[None, Any]) -> str:
    """Says that the list of tools has changed."""
    await context.notify_tools_changed()
    return "said"


async def test_trigger_prompt_change(context: Context[None, Any]) -> str:
    """Says that the list of prompts has changed."""
    await context.notify_prompts_changed()
    return "said"


def _add_resources(server: MCPServer[None]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    async def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    async def static_binary() -> bytes:
        return base64.b64decode(PIXEL)

    @server.resource("test://watched-resource", mime_type="text/plain")
    async def watched() -> str:
        return "Watched resource content"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    async def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _add_prompts(server: MCPServer[None]) -> None:
    @server.prompt()
    async def test_simple_prompt() -> list[UserMessage]:
        """Has no arguments."""
        return [UserMessage(_text("This is a simple prompt for testing."))]

    @server.prompt()
    async def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
        """Has two."""
        return [UserMessage(_text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]

    @server.prompt()
    async def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        """Holds a resource."""
        resource = _embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [UserMessage(resource), UserMessage(_text("Please process the resource above."))]

    @server.prompt()
    async def test_prompt_with_image() -> list[UserMessage]:
        """Holds an image."""
        return [UserMessage(IMAGE), UserMessage(_text("Please analyze the image above."))]
