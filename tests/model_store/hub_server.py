"""A model hub on loopback: the endpoints that pulling uses, real bytes, and real failures.

    python hub_server.py FOLDER

Serves `FOLDER/ORG/NAME/**` as models at one commit each. Large files are redirected to another
path, as the hub does with Git LFS. `FOLDER/faults.json` is read at every request:

    {"drop_after": {FILE: BYTES}, "flip": [FILE], "no_range": [FILE], "slow": {FILE: SECONDS},
     "sizes": {FILE: BYTES}, "status": {ORG/NAME: STATUS}, "licences": {ORG/NAME: NAME}}

Prints its port. Every request is a line in `FOLDER/requests.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".gguf", ".bin")
BLOCK = 64 * 1024


def commit_of(folder: Path) -> str:
    """Changes with every file, as Git's does."""
    lines = [f"{file.relative_to(folder)} {digest_of(file)}" for file in files_of(folder)]
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def digest_of(file: Path) -> str:
    data = file.read_bytes()
    if file.name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        self._note()
        if path[:2] == ["api", "models"]:
            self._model("/".join(path[2:4]), path[5] if path[4:5] == ["revision"] else "main")
        elif path[2:3] == ["resolve"]:
            self._resolve("/".join(path[:2]), path[3], "/".join(path[4:]))
        elif path[0] == "lfs":
            self._send_file(self.root.joinpath(*path[1:]))
        else:
            self._send(404, {"error": "nothing here"})

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _model(self, name: str, revision: str) -> None:
        folder = self.root / name
        if status := self._faults("status").get(name):
            self._send(status, {"error": "told to fail"})
            return
        if not folder.is_dir():
            self._send(404, {"error": "Repository not found"}, "RepoNotFound")
            return
        commit = commit_of(folder)
        if revision not in ("main", "v1", commit):
            self._send(404, {"error": "no such revision"}, "RevisionNotFound")
            return
        licence = self._faults("licences").get(name, "apache-2.0")
        self._send(
            200,
            {
                "id": name,
                "modelId": name,
                "sha": commit,
                "cardData": {"license": licence},
                "siblings": [self._sibling(folder, file) for file in files_of(folder)],
            },
        )

    def _sibling(self, folder: Path, file: Path) -> dict[str, Any]:
        size = self._faults("sizes").get(file.name, file.stat().st_size)
        name = str(file.relative_to(folder))
        told: dict[str, Any] = {"rfilename": name, "size": size, "blobId": digest_of(file)}
        if file.name.endswith(LARGE):
            told["blobId"] = hashlib.sha1(file.name.encode()).hexdigest()
            told["lfs"] = {"sha256": digest_of(file), "size": size, "pointerSize": 134}
        return told

    def _resolve(self, name: str, commit: str, file: str) -> None:
        path = self.root / name / file
        if not path.is_file() or commit != commit_of(self.root / name):
            self._send(404, {"error": "Entry not found"}, "EntryNotFound")
        elif file.endswith(LARGE):
            self.send_response(302)
            self.send_header("Location", f"/lfs/{name}/{file}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send_file(path)

    def _send_file(self, path: Path) -> None:
        data = bytearray(path.read_bytes())
        if path.name in self._faults("flip"):
            data[len(data) // 2] ^= 1
        asked = self.headers.get("Range", "")
        begin = 0
        if asked and path.name not in self._faults("no_range"):
            begin = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        self._send_slowly(path.name, bytes(data[begin:]))

    def _send_slowly(self, name: str, data: bytes) -> None:
        most = self._faults("drop_after").get(name, len(data))
        pause = self._faults("slow").get(name, 0)
        for offset in range(0, min(most, len(data)), BLOCK):
            self.wfile.write(data[offset : min(offset + BLOCK, most)])
            self.wfile.flush()
            time.sleep(pause)
        if most < len(data):
            self.close_connection = True

    def _send(self, status: int, body: dict[str, Any], code: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _faults(self, kind: str) -> Any:
        file = self.root / "faults.json"
        return json.loads(file.read_text()).get(kind, {}) if file.exists() else {}

    def _note(self) -> None:
        line = {"path": self.path, "range": self.headers.get("Range")}
        with (self.root / "requests.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def main() -> None:
    Handler.root = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
