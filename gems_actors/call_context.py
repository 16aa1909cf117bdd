"""The request that the current task is answering, from which nested requests inherit run, trajectory and lane."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import trio

from gems_actors.router_connection import RouterConnection
from protocol.envelope import Header, Lane


@dataclass(slots=True)
class Call:
    """The request that a handler is answering."""

    header: Header
    connection: RouterConnection | None = None
    """Connection that delivered the request and takes the answer; None for a request that did not arrive by wire."""
    others: tuple[RouterConnection, ...] = ()
    """Further connections that take the answer, because after a failover the client may be at any of them."""
    stop_gracefully: trio.Event = field(default_factory=trio.Event)
    """Set once the client wants the current step finished and an answer with what is there."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    cancel_reason: str = ""
    """Why the request was cancelled, if not by its client."""

    def is_answered_by(self, connection: RouterConnection) -> bool:
        """Return whether the answer goes out by this connection."""
        return connection is self.connection or connection in self.others


_call: ContextVar[Call | None] = ContextVar("_call", default=None)
call_or_none = _call.get
"""Returns the request that this task is answering, or None."""


def current_call() -> Call:
    """Return the request that this task is answering.

    Raises:
        LookupError: the task is not answering a request.
    """
    if (call := _call.get()) is None:
        raise LookupError("this task is not answering a request")
    return call


def is_interactive() -> bool:
    """Return whether this task answers a request of the interactive lane; bulk work waits behind those."""
    return (call := _call.get()) is not None and call.header.lane is Lane.INTERACTIVE


@contextmanager
def answering(call: Call) -> Iterator[None]:
    """Make requests sent inside the block part of the request that is being answered."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
