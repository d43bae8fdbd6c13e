"""A loopback server that speaks Ollama's protocol as its documentation describes it. No model.

Answers are words that follow from the weights' bytes and the prompt, so that another adapter gives
another answer and the same one the same. `engine` is how it takes adapters: it applies them,
refuses them at the first generation (as Ollama's newer engine does), or silently leaves them out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from rune_engine.inference.ollama.models import GgufFiles
from rune_engine.inference.provider import GenerationRequest

EngineKind = Literal["applies", "refuses", "ignores"]


class Ollama:
    """What one server holds, and what it was asked."""

    def __init__(self, engine: EngineKind = "applies") -> None:
        self.engine = engine
        self.blobs: dict[str, bytes] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.loaded: set[str] = set()
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.broken_off = threading.Event()
        self.url = ""

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What was sent to a path, oldest first."""
        return [body for _, asked, body in self.asked if asked == path]

    def weights(self, model: str) -> bytes:
        """Everything that the model's answers depend on."""
        parts = self.models[model]
        base = self.weights(parts["from"]) if "from" in parts else b""
        names = [*parts.get("files", {}).values()]
        if self.engine == "applies":
            names += parts.get("adapters", {}).values()
        return base + b"".join(self.blobs[name] for name in names)

    def remove_everything(self) -> None:
        """As `ollama rm` does for every model."""
        self.models.clear()
        self.loaded.clear()

    def has_adapter(self, model: str) -> bool:
        return bool(self.models[model].get("adapters"))


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    """The default of 5 lets the system reset connections when a whole test asks at once."""


def start(ollama: Ollama) -> ThreadingHTTPServer:
    """Let it listen, on a port of its own, until `shutdown` or the end of the tests."""
    handler = type("Handler", (_Handler,), {"ollama": ollama})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    ollama.url = f"http://127.0.0.1:{server.server_address[1]}"
    return server


@contextlib.contextmanager
def running(ollama: Ollama) -> Iterator[Ollama]:
    """The server, for a block."""
    server = start(ollama)
    try:
        yield ollama
    finally:
        server.shutdown()
        server.server_close()


def render(request: GenerationRequest) -> str:
    """As plain as a template can be."""
    said = [f"<{m.role}> {m.content}" for m in request.messages]
    return "\n".join([*said, "<assistant>"]) if request.prompt is None else request.prompt


class Files:
    """Files as an exporter would make them, as far as a server can tell; counts what was made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, list[str]()

    def _file(self, name: str, content: bytes) -> Path:
        self.made.append(name)
        path = self.folder / name
        path.write_bytes(content)
        return path

    def gguf(self) -> GgufFiles:
        return GgufFiles(
            base=lambda: self._file("base", b"GGUF base"),
            adapter=lambda a: self._file(f"lora-{a.id}", b"GGUF lora" + a.sha256.encode()),
            merged=lambda a: self._file(f"merged-{a.id}", b"GGUF merged" + a.sha256.encode()),
        )


class _Handler(BaseHTTPRequestHandler):
    ollama: Ollama
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        found = self.path.removeprefix("/api/blobs/") in self.ollama.blobs
        self._send(200 if found else 404, b"")

    def do_GET(self) -> None:
        models = [{"name": name, "model": name} for name in sorted(self.ollama.loaded)]
        self._json(200, {"models": models})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        if self.path.startswith("/api/blobs/"):
            self._blob(self.path.removeprefix("/api/blobs/"), content)
            return
        body = json.loads(content)
        self.ollama.asked.append(("POST", self.path, body))
        handle = {
            "/api/show": self._show,
            "/api/create": self._create,
            "/api/generate": self._generate,
        }
        handle[self.path](body)

    def _blob(self, digest: str, content: bytes) -> None:
        if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
            self._json(400, {"error": "digest mismatch"})
            return
        self.ollama.blobs[digest] = content
        self._send(201, b"")

    def _show(self, body: dict[str, Any]) -> None:
        if body["model"] not in self.ollama.models:
            self._no_model(body)
        else:
            self._json(200, {"details": {"format": "gguf"}})

    def _create(self, body: dict[str, Any]) -> None:
        if "from" in body and body["from"] not in self.ollama.models:
            self._json(404, {"error": f"model {body['from']!r} not found"})
            return
        blobs = {**body.get("files", {}), **body.get("adapters", {})}
        if not all(digest in self.ollama.blobs for digest in blobs.values()):
            self._json(400, {"error": "blob does not exist"})
            return
        self.ollama.models[body["model"]] = body
        self._lines([{"status": "writing manifest"}, {"status": "success"}])

    def _generate(self, body: dict[str, Any]) -> None:
        model = body["model"]
        if model not in self.ollama.models:
            self._no_model(body)
        elif body.get("keep_alive") == 0 and not body.get("prompt"):
            self.ollama.loaded.discard(model)
            self._json(200, {"model": model, "response": "", "done": True, "done_reason": "unload"})
        elif self.ollama.has_adapter(model) and self.ollama.engine == "refuses":
            said = "failed to initialize model: loras are not yet implemented"
            self._json(500, {"error": said})
        elif len(body["prompt"].split()) > body["options"]["num_ctx"]:
            self._json(400, {"error": "the input length exceeds the context length"})
        else:
            self.ollama.loaded.add(model)
            self._lines(self._answer(body))

    def _answer(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A word a token; its log-probability follows from the word."""
        options = body["options"]
        seed = hashlib.sha256(self.ollama.weights(body["model"]) + body["prompt"].encode())
        held_chars = max(map(len, options["stop"]), default=1) - 1
        text, shown, count, reason = "", 0, 0, "length"
        while count < options["num_predict"] and reason == "length":
            count += 1
            seed.update(b"next")
            text += f" w{seed.hexdigest()[:4]}"
            if stops := [at for stop in options["stop"] if (at := text.find(stop)) >= 0]:
                text, reason = text[: min(stops)], "stop"
            until = len(text) if reason == "stop" else max(shown, len(text) - held_chars)
            line = {"model": body["model"], "response": text[shown:until], "done": False}
            shown = until
            if body.get("logprobs"):
                logprob = -int(seed.hexdigest()[:4], 16) / 65536
                line["logprobs"] = [{"token": "", "logprob": logprob}]
            yield line
            time.sleep(0.05 if "slow" in body["prompt"] else 0)
        yield {
            "model": body["model"],
            "response": text[shown:],
            "done": True,
            "done_reason": reason,
            "prompt_eval_count": len(body["prompt"].split()),
            "eval_count": count,
        }

    def _no_model(self, body: dict[str, Any]) -> None:
        self._json(404, {"error": f"model {body['model']!r} not found"})

    def _lines(self, lines: Any) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for line in lines:
                data = json.dumps(line).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:  # the client closed the connection
            self.ollama.broken_off.set()
            self.close_connection = True

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
