"""A model's side of a session, played: Anthropic's Messages API on a loopback port.

`python played_model.py TURNS.json` prints its port. Each turn is a text, or a tool's name and its
input; which one is due follows from how many tools the conversation has results of.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Turn = str | tuple[str, dict[str, Any]]
_USAGE = {"input_tokens": 1, "output_tokens": 1}


def answer(request: dict[str, Any], turns: list[Turn]) -> list[dict[str, Any]]:
    """The stream of events that answers a request."""
    blocks = [
        block
        for message in request["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
    ]
    used = sum(block.get("type") == "tool_result" for block in blocks)
    # Requests of the host's own, such as one for a title, offer no tools.
    turn: Turn = turns[min(used, len(turns) - 1)] if request.get("tools") else "played"
    if isinstance(turn, str):
        block, reason = {"type": "text", "text": ""}, "end_turn"
        delta = {"type": "text_delta", "text": turn}
    else:
        name, given = turn
        block = {"type": "tool_use", "id": f"toolu_{used:02}", "name": name, "input": {}}
        delta, reason = {"type": "input_json_delta", "partial_json": json.dumps(given)}, "tool_use"
    message = {
        "id": f"msg_{used:02}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _USAGE,
    }
    end = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]


def serve(turns: list[Turn]) -> None:
    """Answer until killed; the port is the first line on stdout."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            events = answer(request, turns)
            lines = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events]
            body = "".join(lines).encode()
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(json.loads(Path(sys.argv[1]).read_text()))
