"""A real HTTP server that draws storyboards, answers by a rule of the test, or has the bad day that a test gives it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gems_actors.backends import ImageRequest
from gems_actors.backends import failover as patience
from gems_actors.backends.storyboard.models import draw_request


@dataclass(slots=True)
class Answer:
    """What the server says; `cut_to` bytes of it where it hangs up before the end."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_to: int | None = None
    delay_s: float = 0.0


Rule = Callable[[dict[str, Any]], Answer]


def drawn(fields: dict[str, Any]) -> Answer:
    """Draw what is asked for."""
    width_px, height_px = map(int, fields["size"].split("x"))
    data = draw_request(ImageRequest(fields["prompt"], fields.get("seed", 0), width_px, height_px))
    return Answer(json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]}).encode())


class ScriptedServer:
    """Answers by a rule, or with the next of some answers, and remembers what it was asked."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.first: list[Answer] = []
        """Given before the rule is asked."""
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        """Path, headers and fields of each request."""
        self.files: dict[str, bytes] = {}
        """What can be fetched by its path."""
        self.url = ""


def make_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let backends try again at once, and believe soon that a server never was there."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(patience, "_BACKOFF_S", (0.001, 0.002))
    monkeypatch.setattr(patience, "_FIRST_CONTACT_S", 0.1)


@contextmanager
def open_server(server: ScriptedServer, port: int = 0) -> Iterator[ScriptedServer]:
    """Serve on a port of this host, a free one unless one is given."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, dict(self.headers), fields))
            self._say(server.first.pop(0) if server.first else server.rule(fields))

        def do_GET(self) -> None:
            server.asked.append((self.path, dict(self.headers), {}))
            found = server.files.get(self.path)
            self._say(Answer(b"gone", 404) if found is None else Answer(found))

        def _say(self, answer: Answer) -> None:
            if answer.delay_s:
                time.sleep(answer.delay_s)  # the bad day itself
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut_to])
            self.close_connection = answer.cut_to is not None

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    httpd = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
