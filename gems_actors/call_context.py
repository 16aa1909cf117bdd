"""The request that the current task is answering, from which nested requests inherit run, trajectory and lane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf

import trio
from msgspec import Struct

from gems_actors.router_connection import RouterConnection
from protocol.envelope import Header, Lane


class Call(Struct, eq=False):
    """The request that a handler is answering."""

    header: Header
    head: bytes = b""
    """The header as it arrived; empty for a request that did not arrive by wire."""
    connection: RouterConnection | None = None
    """Connection that delivered the request and takes the answer; None for a request that did not arrive by wire."""
    others: tuple[RouterConnection, ...] = ()
    """Further connections that take the answer, because the client may be waiting at any of them."""
    scope: trio.CancelScope | None = None
    """The scope that its handler runs in, while it runs."""
    cancel_reason: str = ""
    """Why the request was cancelled, if not by its client."""
    is_cancelled: bool = False
    has_expired: bool = False
    """Whether it was cancelled at its deadline."""
    deadline: float = inf
    """Time at which it is cancelled."""
    client_deadline: float = inf
    """Time at which the client gives up; `deadline` is never later."""
    watch: Callable[[Call], None] | None = None
    """Called when the deadline has changed."""
    queued: int = 0
    """Calls for this request that wait in a queue of this process."""
    served: int = 0
    """Calls for this request that a model server works on."""
    _left_s: float | None = None
    """Time left of the actor's time limit while its clock is stopped."""
    _stop_gracefully: trio.Event | None = None

    @property
    def stop_gracefully(self) -> trio.Event:
        """Set once the client wants the current step finished and an answer with what is there."""
        if self._stop_gracefully is None:
            self._stop_gracefully = trio.Event()
        return self._stop_gracefully

    def cancel(self) -> None:
        """Cancel the handler, now or when it begins."""
        self.is_cancelled = True
        if self.scope is not None:
            self.scope.cancel()

    def adjust_clock(self) -> None:
        """Stop the clock of the actor's time limit while all that this request does is wait in a queue."""
        now, is_idle = trio.current_time(), self.queued > 0 and not self.served
        if is_idle and self._left_s is None:
            self._left_s, self.deadline = self.deadline - now, self.client_deadline
        elif not is_idle and self._left_s is not None:
            self.deadline, self._left_s = min(now + self._left_s, self.client_deadline), None
        else:
            return
        if self.watch is not None:
            self.watch(self)

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


def current_deadline() -> float:
    """Return when this task must be done: the deadline of its scopes or of the request that it answers."""
    deadline, call = trio.current_effective_deadline(), _call.get()
    if call is None or call.is_cancelled:  # what is done after that has a scope with its own deadline
        return deadline
    return min(deadline, call.deadline)


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


def begin_answering(call: Call) -> None:
    """Make what this task does from now on, until it begins with another request, part of a request."""
    _call.set(call)


@contextmanager
def answering(call: Call) -> Iterator[None]:
    """Make requests sent inside the block part of the request that is being answered."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
