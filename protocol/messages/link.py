"""What a process and the router say to each other about their connection, and the failure that answers a request."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from protocol.limits import MAX_REVISION
from protocol.messages.values import Body, Count, RequestId, RunPhase, Text, Value


class Held(Value, frozen=True, kw_only=True):
    """A request that an actor has in hand."""

    id: RequestId
    attempt: Annotated[int, Meta(ge=0, le=0xFFFF)]


class RunState(Value, frozen=True, kw_only=True):
    """A run, or one trajectory of it, was paused, cancelled, or let go on; of two such the higher revision stands."""

    run: Annotated[bytes, Meta(min_length=8, max_length=8)]
    """As in headers."""
    trajectory: Annotated[bytes, Meta(min_length=16, max_length=16)]
    """As in headers; zeros for the whole run."""
    state: RunPhase
    by: Annotated[str, Meta(max_length=200)] = ""
    """Who wanted it, in words."""
    revision: Annotated[int, Meta(ge=0, le=MAX_REVISION)]


class Hello(Body, frozen=True, kw_only=True):
    """A process presents itself to the router; sent again to every new router."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    """Unique in the mesh, for instance `verifier-3f2a`."""
    accepts: tuple[str, ...] = ()
    """Types of the requests it answers; empty for a client."""
    capacity: Count = 0
    """How many requests it takes at once; 0 while it gets ready."""
    host: str = ""
    pid: Count = 0
    version: str = ""
    holding: tuple[Held, ...] = ()
    run_states: tuple[RunState, ...] = field(default=(), name="marks")
    """All that it knows of, so that a new router does not let go on what was paused."""


class Welcome(Body, frozen=True, kw_only=True):
    """The router knows the process now."""

    epoch: str
    """Of this router's life; another one means that everything it knew is forgotten."""
    heartbeat_s: Annotated[float, Meta(gt=0.0, le=86_400.0)]
    run_states: tuple[RunState, ...] = field(default=(), name="marks")
    """All that the router knows of: to be kept and told in every `Hello`."""


class Heartbeat(Body, frozen=True, kw_only=True):
    """A sign of life from an actor's loop, with what it holds and waits for, so that both sides can compare."""

    holding: tuple[Held, ...] = ()
    awaiting: tuple[RequestId, ...] = ()
    figures: dict[str, float] = {}
    """What the actor reports of itself, for `gems status`."""
    note: Annotated[str, Meta(max_length=1_000)] = ""
    """What it does while it takes no requests, such as loading weights; else what is wrong, such as a server gone."""


class Pulse(Body, frozen=True, kw_only=True):
    """The router's answer to a heartbeat; also sent unasked where a mark is new."""

    epoch: str
    unknown: tuple[RequestId, ...] = ()
    """Requests the process waits for and the router never had or has forgotten: to be sent again."""
    run_states: tuple[RunState, ...] = field(default=(), name="marks")
    """All that are new since the router last told the process of marks: to be kept and told in every `Hello`."""


class HelloAgain(Body, frozen=True, kw_only=True):
    """The router does not know the process that just spoke."""

    epoch: str


class Capacity(Body, frozen=True, kw_only=True):
    """An actor changes how many requests it takes at once; 0 while it drains."""

    capacity: Count


class Goodbye(Body, frozen=True, kw_only=True):
    """An actor leaves; what it still holds goes to others."""


class Subscribe(Body, frozen=True, kw_only=True):
    """A client wants the events of the run that the header names."""


class Cancel(Body, frozen=True, kw_only=True):
    """The asker no longer wants the answer or, gently, wants it soon: finish the step in hand and answer with that."""

    graceful: bool = field(default=False, name="gently")
    reason: Annotated[str, Meta(max_length=1_000)] = ""
    """Why, where it was not the asker who wanted it, but somebody cancelled the run or the trajectory."""


class Failure(Body, frozen=True, kw_only=True):
    """What answers a request that could not be answered."""

    code: str
    """Of the error class; those that exist are listed in README.md."""
    message: Text
    retryable: bool = False
    retry_after_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] | None = None
