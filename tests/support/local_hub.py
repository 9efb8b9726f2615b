"""A server on this machine that speaks as much of the protocol of the Hugging Face hub as a push needs."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LocalHub(ThreadingHTTPServer):
    """Takes the files of commits; ``faults`` are the answers to the next requests that it does not take.

    A fault is the number of a status, ``"drop"`` (the connection is closed in the middle), ``"hang"``, or
    None: the request is taken.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults: list[int | str | None] = []
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()
        self.closing = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: LocalHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub = self.server
        hub.requests.append(self.path)
        hub.tokens.add(self.headers.get("Authorization"))
        fault = hub.faults.pop(0) if hub.faults else None
        if fault == "hang":
            hub.closing.wait(60)
        elif fault == "drop":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            self.close_connection = True
        elif isinstance(fault, int):
            self._answer(fault, {"error": "no"})
        else:
            self._take(self.path, body)

    def _take(self, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            name = json.loads(body)["name"]
            self._answer(200, {"url": f"{self.server.address}/somebody/{name}"})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._answer(200, {"files": modes})
        elif "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.address}/somebody/model/commit/1"
            self._answer(200, {"commitUrl": url, "commitOid": "1", "success": True})
        else:
            self._answer(200, {"warnings": [], "errors": []})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Run a hub while the block runs."""
    with LocalHub() as hub:
        threading.Thread(target=hub.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield hub
        finally:
            hub.closing.set()
            hub.shutdown()
