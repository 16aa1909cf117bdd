"""A real HTTP server that draws storyboards, or gives whatever answers and failures a test scripts."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from gems_actors.backends import ImageRequest
from gems_actors.backends.failover import RetryPolicy
from gems_actors.backends.storyboard.models import draw_request


@dataclass(slots=True)
class Answer:
    """One answer; with `cut_to`, the server hangs up after that many bytes."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_to: int | None = None
    delay_s: float = 0.0


Rule = Callable[[dict[str, Any]], Answer]


def drawn(fields: dict[str, Any]) -> Answer:
    """Answer with a storyboard of the requested prompt."""
    width_px, height_px = map(int, fields["size"].split("x"))
    data = draw_request(ImageRequest(fields["prompt"], fields.get("seed", 0), width_px, height_px))
    return Answer(json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]}).encode())


def _fields_of(media_type: str, body: bytes) -> dict[str, Any]:
    """Return the fields of JSON, or of a form with those of its files as lists of name, type and bytes."""
    if not media_type.startswith("multipart/form-data"):
        return json.loads(body) if body else {}
    fields: dict[str, Any] = {}
    form: Any = message_from_bytes(f"Content-Type: {media_type}\r\n\r\n".encode() + body, policy=HTTP)
    for part in form.iter_parts():
        name, file_name = part.get_param("name", header="content-disposition"), part.get_filename()
        data = part.get_payload(decode=True)
        if file_name is None:
            fields[name] = data.decode()
        else:
            fields.setdefault(name, []).append((file_name, part.get_content_type(), data))
    return fields


class ScriptedServer:
    """Answers with the next of the `first` answers, then by a rule, and keeps all requests."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.first: list[Answer] = []
        """Answers to give before the rule applies."""
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        """Path, headers and fields of each request."""
        self.files: dict[str, bytes | Answer] = {"/v1/models": b'{"object": "list", "data": []}'}
        """Files for GET requests, or other answers to them, by path."""
        self.url = ""


QUICK_RETRY = RetryPolicy(first_backoff_s=0.001, max_backoff_s=0.002, first_contact_s=0.1)
"""Retries almost at once, and gives up early on a server that never answered."""


@contextmanager
def open_server(server: ScriptedServer, port: int = 0) -> Iterator[ScriptedServer]:
    """Serve on a port of this host, a free one by default; at the end, hang up on clients."""
    connections = set[socket.socket]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.add(self.connection)

        def finish(self) -> None:
            connections.discard(self.connection)
            with suppress(OSError):  # the test has ended, and hung up
                super().finish()

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            if len(body := self.rfile.read(length)) < length:
                return  # the server is closing
            fields = _fields_of(self.headers["Content-Type"] or "", body) or dict(parse_qsl(urlsplit(self.path).query))
            server.asked.append((self.path, dict(self.headers), fields))
            self._say(server.first.pop(0) if server.first else server.rule(fields))

        def do_GET(self) -> None:
            server.asked.append((self.path, dict(self.headers), {}))
            found = server.files.get(self.path)
            self._say(found if isinstance(found, Answer) else Answer(found or b"gone", 200 if found else 404))

        def _say(self, answer: Answer) -> None:
            if answer.delay_s:
                time.sleep(answer.delay_s)  # the scripted failure itself
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
        for connection in [*connections]:
            with suppress(OSError):  # the client has hung up first
                connection.shutdown(socket.SHUT_RDWR)
        thread.join()
