"""Traces, as a collector receives them over OTLP: one for each trajectory, whole across processes."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gems_actors.config import TracesConfig
from gems_actors.errors import ConfigError
from gems_actors.ops import tracing
from protocol.envelope import Header, Kind
from tests.gems_actors.cli.commands import run_gems

PROMPT = "two red cats to the left of a stone dog"


@dataclass
class Collector:
    """Spans that arrived, each with the role of its process."""

    port: int
    spans: list[tuple[str, Span]] = field(default_factory=list)
    traceparents: list[str] = field(default_factory=list)
    """Headers of requests to a chat model."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/chat/completions":
                found.traceparents.append(self.headers.get("traceparent", ""))
                self.send_response(400)
                self.end_headers()
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                role = {one.key: one.value.string_value for one in resource.resource.attributes}["gems.role"]
                found.spans += [(role, span) for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Collector(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def draw(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run_gems(folder, "draw", PROMPT, "--seed", "7", "--json", "--set", f"data_dir={folder}/data", *more)


@pytest.mark.slow
def test_a_draw_is_one_trace_of_every_role_and_model_call(tmp_path: Path, collector: Collector) -> None:
    done = draw(tmp_path, "--set", f"traces.endpoint=http://127.0.0.1:{collector.port}")
    picture = json.loads(done.stdout)
    spans = [span for _, span in collector.spans]
    by_id = {span.span_id: span for span in spans}
    (root,) = (span for span in spans if span.parent_span_id not in by_id)
    assert (root.name, root.kind) == ("invoke_workflow gems", Span.SPAN_KIND_SERVER)
    assert {span.trace_id for span in spans} == {root.trace_id}
    attributes = {one.key: one.value.string_value for one in root.attributes}
    assert attributes["gen_ai.conversation.id"] == picture["trajectory"]
    names = Counter(span.name for span in spans)
    assert names["generate_content storyboard"] == names["invoke_agent generator"] == picture["images"]
    assert {f"invoke_agent {role}" for role in ("planner", "decomposer", "verifier", "memory")} <= names.keys()
    assert names["chat storyboard"] >= picture["images"]
    queued = [span for role, span in collector.spans if role == "router" and span.name == "queue generator"]
    assert len(queued) == picture["images"]
    for span in queued:
        asked = by_id[span.parent_span_id]
        assert asked.name == "ask generator"
        assert asked.start_time_unix_nano <= span.end_time_unix_nano <= asked.end_time_unix_nano
    for role, span in collector.spans:
        parent = by_id.get(span.parent_span_id)
        if span.kind == Span.SPAN_KIND_SERVER and parent is not None:  # what the asking process recorded around it
            assert parent.name == f"ask {role}"
            assert parent.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    assert not [span.name for span in spans if PROMPT in str(span) or span.status.code == Status.STATUS_CODE_ERROR]


@pytest.mark.slow
def test_a_model_server_is_told_the_span_of_its_call_and_a_failure_is_on_the_spans(
    tmp_path: Path, collector: Collector
) -> None:
    address = f"http://127.0.0.1:{collector.port}"
    server = ("--set", "chat.backend=openai", "--set", f"chat.url={address}/v1", "--set", "chat.model=m")
    done = draw(tmp_path, "--set", f"traces.endpoint={address}", *server)
    assert done.returncode == 1
    calls = {span.span_id.hex(): span for _, span in collector.spans if span.name == "chat m"}
    assert collector.traceparents
    for header in collector.traceparents:
        version, trace, span_id, flags = header.split("-")
        assert (version, trace, flags) == ("00", calls[span_id].trace_id.hex(), "01")
        assert calls[span_id].status.code == Status.STATUS_CODE_ERROR


@pytest.mark.slow
def test_a_collector_that_is_not_there_costs_only_the_traces(tmp_path: Path) -> None:
    done = draw(tmp_path, "--set", "traces.endpoint=http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["all_met"]


@pytest.mark.slow
def test_a_mesh_without_traces_imports_no_opentelemetry(tmp_path: Path) -> None:
    code = (
        "import sys, gems_actors.supervision.child_main, gems_actors.backends.factory\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_without_the_extra_the_setting_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    line = r"^traces.endpoint: .* is missing; pip install 'gems-actors\[traces\]'"
    with pytest.raises(ConfigError, match=line), recording():
        pass


@contextmanager
def recording() -> Iterator[None]:
    with tracing.recording(TracesConfig(endpoint="http://127.0.0.1:9"), "planner", "planner-1"):
        yield


def test_requests_of_the_mesh_itself_have_no_spans() -> None:
    with recording():
        with tracing.answering(Header(Kind.REQUEST, role="memory"), "ReadStatus") as span:
            assert span is None
        with tracing.asking(Header(Kind.REQUEST, role="router"), "ReadStatus") as header:
            assert not any(header.trace)
        assert tracing.traceparent() is None


@pytest.mark.slow
def test_a_trace_that_came_over_http_goes_on_to_the_mesh_and_out_again() -> None:
    came = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with recording(), tracing.serving(came, "POST /v1/images/generations") as span:
        assert span is not None
        with tracing.asking(Header(Kind.REQUEST, role="conductor"), "DrawPicture") as header:
            assert header.trace.hex() == "ab" * 16
            assert header.span.hex() not in ("cd" * 8, "00" * 8)
        assert tracing.traceparent() == f"00-{'ab' * 16}-{span.get_span_context().span_id:016x}-01"
    assert tracing.traceparent() is None


def test_a_client_that_wants_no_spans_gets_none_anywhere() -> None:
    came = f"00-{'ab' * 16}-{'cd' * 8}-00"
    with recording(), tracing.serving(came, "POST /v1/images/generations"):
        with tracing.asking(Header(Kind.REQUEST, role="conductor"), "DrawPicture") as header:
            assert not any(header.trace)
        parent = tracing.traceparent()
    assert parent is not None
    assert parent.startswith(f"00-{'ab' * 16}-")
    assert parent.endswith("-00")
