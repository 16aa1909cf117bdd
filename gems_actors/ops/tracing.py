"""Traces by OpenTelemetry: one for each trajectory, with a span for every request, role, and call of a model.

Trace and parent travel in the header of every message, so a trace crosses processes and hosts. Nothing here imports
OpenTelemetry (extra `[traces]`) unless the settings name a collector, and a span then costs nothing but a look at
`_tracer`. Spans have no prompts and no pictures, only digests, counts and names. Attributes follow the conventions for
generative AI, which are not stable yet and so are spelled out here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from msgspec import structs

from gems_actors import __version__
from gems_actors.config import TracesConfig
from gems_actors.errors import ConfigError
from gems_actors.ops.log_setup import RateLimitedLog
from protocol.envelope import Header

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

HeaderT = TypeVar("HeaderT", bound=Header)
Attributes = Mapping[str, str | int | float | bool]

_ROOT_REQUEST: Final = "DrawPicture"
"""The request that begins a trace if none has begun; others without a trace are the mesh's own and have no spans."""
_EXPORT_S: Final = 2
"""Time limit of an export, so that a collector that does not answer delays no process's end for long."""

_tracer: Tracer | None = None
_log = structlog.get_logger()


def is_on() -> bool:
    """Return whether this process records spans."""
    return _tracer is not None


@contextmanager
def recording(config: TracesConfig, role: str, name: str) -> Iterator[None]:
    """Record the spans of this process until the end of the block, and send them to the configured collector, if any.

    Spans are sent by a thread. A collector that does not answer costs the spans, and a line in the log from time to
    time.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    global _tracer  # noqa: PLW0603 - one for the process, as the log's configuration
    if config.endpoint is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"traces.endpoint: {error.name} is missing; pip install 'gems-actors[traces]', or leave it unset"
        ) from error
    resource = Resource.create(
        {"service.name": "gems-actors", "service.version": __version__, "service.instance.id": name, "gems.role": role}
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{config.endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    complaints = logging.getLogger("opentelemetry")
    complaints.propagate, complaints.handlers = False, [_Complaints()]
    _tracer = provider.get_tracer("gems_actors", __version__)
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


@contextmanager
def asking(header: HeaderT, request: str) -> Iterator[HeaderT]:
    """Record a request of this process to a role, and yield its header with the span in it.

    It lasts until the answer, and contains the time in the router's queue (`note_queued`) and the role's own span.
    """
    if _tracer is None or (parent := _parent_of(header)) is None:
        yield header
        return
    with _span(f"ask {header.role}", "CLIENT", {"gems.request": request}, parent) as span:
        context = span.get_span_context()
        if not context.trace_flags.sampled:  # its client wants no spans of it
            yield header
            return
        trace, parent_span = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
        yield structs.replace(header, trace=trace, span=parent_span)


def note_queued(header: Header, waited_s: float) -> None:
    """Record how long a request has waited until now, when it is handed to an actor: a span in that of its client."""
    if _tracer is None or not any(header.trace):
        return
    now_ns = time.time_ns()
    attributes = {"gems.lane": header.lane.name.lower()}
    _tracer.start_span(
        f"queue {header.role}", _remote(header), attributes=attributes, start_time=now_ns - int(waited_s * 1e9)
    ).end(now_ns)


@contextmanager
def answering(header: Header, request: str) -> Iterator[Span | None]:
    """Record how an actor answers a request, as part of the trace in the header or, for a trajectory, of a new one."""
    if _tracer is None or (not any(header.trace) and request != _ROOT_REQUEST):
        yield None
        return
    is_workflow = request == _ROOT_REQUEST
    attributes: dict[str, str | int | float | bool] = {
        "gen_ai.operation.name": "invoke_workflow" if is_workflow else "invoke_agent",
        "gen_ai.agent.name": header.role,
        "gen_ai.conversation.id": header.trajectory.hex(),
        "gems.request": request,
        "gems.lane": header.lane.name.lower(),
        "gems.delivery": header.attempt,
    }
    name = "invoke_workflow gems" if is_workflow else f"invoke_agent {header.role}"
    with _span(name, "SERVER", attributes, _remote(header)) as span:
        yield span


@contextmanager
def serving(traceparent: str | None, name: str) -> Iterator[Span | None]:
    """Record how a request over HTTP is answered; `traceparent` is its header of W3C Trace Context, if it has one."""
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({} if traceparent is None else {"traceparent": traceparent})
    with _span(name, "SERVER", {}, context) as span:
        yield span


@contextmanager
def calling_model(operation: str, model: str, attributes: Attributes) -> Iterator[Span | None]:
    """Record the call of a model: `chat` or `generate_content`."""
    if _tracer is None:
        yield None
        return
    named = {"gen_ai.operation.name": operation, "gen_ai.request.model": model, **attributes}
    with _span(f"{operation} {model}", "CLIENT", named, None) as span:
        yield span


def traceparent() -> str | None:
    """Return the header of W3C Trace Context for a request that this task sends to a server; None without a span."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


@contextmanager
def _span(name: str, kind: str, attributes: Attributes, parent: Any) -> Iterator[Span]:
    """Record a span; a failure is noted by the name of its class, because its text may quote prompts."""
    from opentelemetry.trace import SpanKind, Status, StatusCode

    assert _tracer is not None
    with _tracer.start_as_current_span(
        name,
        context=parent,
        kind=SpanKind[kind],
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def _parent_of(header: Header) -> Any:
    """Return the span under which a request is sent: the current one, else that of its header; None without any."""
    from opentelemetry.context import get_current
    from opentelemetry.trace import get_current_span

    return get_current() if get_current_span().get_span_context().is_valid else _remote(header)


def _remote(header: Header) -> Any:
    """Return the span of another process that a header names, as a context; None without any."""
    if not any(header.trace):
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    named = SpanContext(
        int.from_bytes(header.trace, "big"),
        int.from_bytes(header.span, "big"),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(named), Context())


class _Complaints(logging.Handler):
    """Passes what OpenTelemetry complains about to the log of this process, now and then."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._limited = RateLimitedLog(_log)

    def emit(self, record: logging.LogRecord) -> None:
        self._limited.warning("traces_not_sent", reason=record.getMessage()[:500])
