"""The request that the current task is answering, from which nested requests inherit run, trajectory and lane."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import inf

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
    """Further connections that take the answer, because the client may be waiting at any of them."""
    stop_gracefully: trio.Event = field(default_factory=trio.Event)
    """Set once the client wants the current step finished and an answer with what is there."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    cancel_reason: str = ""
    """Why the request was cancelled, if not by its client."""
    client_deadline: float = inf
    """Time at which the client gives up; the deadline of `scope` is never later."""
    queued: int = 0
    """Calls for this request that wait in a queue of this process."""
    served: int = 0
    """Calls for this request that a model server works on."""
    _left_s: float | None = None
    """Time left of the actor's time limit while its clock is stopped."""

    def adjust_clock(self) -> None:
        """Stop the clock of the actor's time limit while all that this request does is wait in a queue."""
        now, is_idle = trio.current_time(), self.queued > 0 and not self.served
        if is_idle and self._left_s is None:
            self._left_s, self.scope.deadline = self.scope.deadline - now, self.client_deadline
        elif not is_idle and self._left_s is not None:
            self.scope.deadline, self._left_s = min(now + self._left_s, self.client_deadline), None

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
def waiting_in_queue() -> Iterator[None]:
    """Count the block as waiting in a queue of this process, which uses none of the actor's time limit."""
    if (call := _call.get()) is None:
        yield
        return
    call.queued += 1
    call.adjust_clock()
    try:
        yield
    finally:
        call.queued -= 1
        call.adjust_clock()


@contextmanager
def being_served() -> Iterator[None]:
    """Count the block as work of a model server, during which the clock of the actor's time limit runs."""
    if (call := _call.get()) is None:
        yield
        return
    call.served += 1
    call.adjust_clock()
    try:
        yield
    finally:
        call.served -= 1
        call.adjust_clock()


@contextmanager
def answering(call: Call) -> Iterator[None]:
    """Make requests sent inside the block part of the request that is being answered."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
