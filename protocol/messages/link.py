"""Messages between a process and the router about their connection, and the failure that answers a request."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from protocol.limits import MAX_ITEMS, MAX_NAME_CHARS, MAX_REVISION
from protocol.messages.values import (
    Body,
    Count,
    Figures,
    Name,
    Remark,
    RequestId,
    RequestIds,
    RunId,
    RunPhase,
    Text,
    Value,
)


class Held(Value, frozen=True, kw_only=True):
    """A request that an actor is answering."""

    id: RequestId
    attempt: Annotated[int, Meta(ge=0, le=0xFFFF)]


HeldList = Annotated[tuple[Held, ...], Meta(max_length=MAX_ITEMS)]


class RunState(Value, frozen=True, kw_only=True):
    """The phase of a run, or of one trajectory of it; of two states the one with the higher revision wins."""

    run: RunId
    """Id of the run, as in headers."""
    trajectory: Annotated[bytes, Meta(min_length=16, max_length=16)]
    """Id of the trajectory, as in headers; zeros for the whole run."""
    state: RunPhase
    by: Name = ""
    """Name of the person or program that set the state."""
    revision: Annotated[int, Meta(ge=0, le=MAX_REVISION)]


RunStateList = Annotated[tuple[RunState, ...], Meta(max_length=MAX_ITEMS)]


class Hello(Body, frozen=True, kw_only=True):
    """A process introduces itself to the router; sent again to every new router."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
    """Name of the process, unique in the mesh, for instance `verifier-3f2a`."""
    accepts: Annotated[tuple[Name, ...], Meta(max_length=MAX_ITEMS)] = ()
    """Types of the requests that the process answers; empty for a client."""
    capacity: Count = 0
    """Requests that the process takes at once; 0 while it starts."""
    host: Name = ""
    pid: Count = 0
    version: Name = ""
    holding: HeldList = ()
    """Requests in progress whose answers this router gets."""
    held_elsewhere: HeldList = ()
    """Other requests in progress, whose answers go to other routers."""
    run_states: RunStateList = field(default=(), name="marks")
    """All run states that the process knows, so that a new router does not resume what was paused."""
    bundles: bool = False
    """Whether the process reads bundles of messages."""


class Welcome(Body, frozen=True, kw_only=True):
    """The router has admitted the process."""

    epoch: Name
    """Id of this router process; another epoch means that the router was replaced and knows nothing of before."""
    heartbeat_s: Annotated[float, Meta(gt=0.0, le=86_400.0)]
    run_states: RunStateList = field(default=(), name="marks")
    """All run states that the router knows: to be kept and repeated in every `Hello`."""
    role: Name | None = None
    """Role that the router knows the process by, empty for a client; another than the process has answers an earlier
    hello. None: an earlier version."""
    bundles: bool = False
    """Whether the router reads bundles of messages."""


class Heartbeat(Body, frozen=True, kw_only=True):
    """Sign of life of a process, with the requests it answers and those it waits for, to reconcile both sides."""

    holding: HeldList = ()
    """Requests in progress whose answers this router gets."""
    held_elsewhere: HeldList = ()
    """Other requests in progress, whose answers go to other routers, and those answered to one that may be gone."""
    awaiting: RequestIds = ()
    figures: Figures = {}
    """Figures that the actor reports, for `gems status`."""
    capacity: Count | None = None
    """Capacity, in case a `Capacity` was lost; none: as said last."""
    note: Remark = ""
    """What the actor does while it takes no requests, such as loading weights, or what is wrong."""


class Pulse(Body, frozen=True, kw_only=True):
    """The router's answer to a heartbeat; also sent unasked when a run state is new."""

    epoch: Name
    unknown: RequestIds = ()
    """Requests in `awaiting` that the router does not know: to be sent again."""
    claimed: RequestIds = ()
    """Requests in `held_elsewhere` that a client awaits here: to be answered by this router too."""
    run_states: RunStateList = field(default=(), name="marks")
    """Run states that are new to the process: to be kept and repeated in every `Hello`."""


class HelloAgain(Body, frozen=True, kw_only=True):
    """The router does not know the sender of a message, which must say hello again."""

    epoch: Name


class Capacity(Body, frozen=True, kw_only=True):
    """An actor changes how many requests it takes at once; 0 while it shuts down gracefully."""

    capacity: Count


class Goodbye(Body, frozen=True, kw_only=True):
    """An actor leaves; requests that it still holds go to other actors."""


class Subscribe(Body, frozen=True, kw_only=True):
    """A client follows the events of the run in the header."""


class Cancel(Body, frozen=True, kw_only=True):
    """The client cancels a request or, gracefully, wants it answered with what is there after the current step."""

    graceful: bool = field(default=False, name="gently")
    reason: Remark = ""
    """Reason, if the client did not cancel the request but its run or trajectory was cancelled."""
    here_only: bool = False
    """Whether the request may go on by another router: the router forgets it unless an actor holds it, and an actor
    stops unless another router gets the answer too."""


class Failure(Body, frozen=True, kw_only=True):
    """The answer to a request that failed."""

    code: Name
    """Code of the error class; README.md lists them."""
    message: Text
    retryable: bool = False
    retry_after_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] | None = None
    outage: bool = False
    """Whether servers were away, overloaded or refused this client, so that any other request would fail as well."""
