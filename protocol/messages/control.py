"""The mesh about itself: its status, and the requests that pause, resume, cancel, scale and stop."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, field

from protocol.limits import MAX_ACTORS, MAX_ITEMS, MAX_NAME_CHARS
from protocol.messages.link import RunStateList
from protocol.messages.values import (
    Control,
    Count,
    Figures,
    Name,
    Remark,
    Reply,
    Request,
    RunName,
    RunPhase,
    Seconds,
    TrajectoryId,
    Value,
)


class ActorStatus(Value, frozen=True, kw_only=True):
    """One actor as the router sees it."""

    name: Name
    role: Name
    host: Name
    pid: Count
    version: Name
    capacity: Count
    busy: Count
    handled: Count
    silent_s: Seconds
    oldest_s: Seconds
    """Age of the oldest request that the actor holds, since it was given; 0 without requests."""
    figures: Figures = {}
    note: Remark = ""
    """What the actor does while it takes no requests, such as loading weights, or what is wrong."""


class RoleStatus(Value, frozen=True, kw_only=True):
    """One role as the router sees it."""

    role: Name
    queued: Count
    oldest_s: Seconds
    """Age of the oldest queued request."""
    actors: Annotated[tuple[ActorStatus, ...], Meta(max_length=MAX_ITEMS)]
    paused: Count = 0
    """Requests, in addition to those queued, that wait until their run or trajectory is resumed."""
    totals: Figures = {}
    """Counts of the role since the router started, which outlive its actors: `calls`, `call_seconds`,
    `calls_within/SECONDS`, and those that its actors report."""
    last_error: Remark = ""
    """The latest failure that an actor answered with, or the latest loss of an actor; empty if there was none."""
    last_error_s: Seconds | None = None
    """Time since then; None if there was none."""


class MeshStatus(Reply, frozen=True, kw_only=True):
    """The whole mesh as the router sees it."""

    epoch: Name
    uptime_s: Seconds
    roles: Annotated[tuple[RoleStatus, ...], Meta(max_length=MAX_ITEMS)]
    clients: Count
    requeued: Count
    """Requests handed out again because their actor was lost."""
    run_states: RunStateList = field(default=(), name="marks")


class ReadStatus(Request[MeshStatus], frozen=True, kw_only=True):
    """Asks the router for the status of the mesh."""

    role: ClassVar[str] = "router"


class Noted(Reply, frozen=True, kw_only=True):
    """The answer to a request that returns nothing."""


class ReportLoss(Request[Noted], frozen=True, kw_only=True):
    """Reports that an actor's process ended, so that its requests go to other actors at once."""

    role: ClassVar[str] = "router"
    name: Name
    how: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    """How it ended, such as `signal SIGKILL`; empty if that is unknown."""


class Controlled(Reply, frozen=True, kw_only=True):
    """The phase of a run or trajectory before a change, and its requests in the mesh."""

    before: RunPhase
    waiting: Count
    """Requests that waited for an actor."""
    in_hand: Count
    """Requests that actors were answering; pausing lets them finish, cancelling cancels them."""


class ControlRun(Request[Controlled], frozen=True, kw_only=True):
    """Asks the router to pause, resume or cancel a run or one trajectory of it; cancelled ones can be resumed."""

    role: ClassVar[str] = "router"
    run: RunName
    trajectory: TrajectoryId | None = None
    """Trajectory to change; by default the whole run. Resuming a run resumes all of its trajectories."""
    action: Control
    by: Name = ""
    """Name of the person or program that asks."""


class Scaled(Reply, frozen=True, kw_only=True):
    """Number of actors of a role before and after."""

    before: Count
    after: Count


class ScaleRole(Request[Scaled], frozen=True, kw_only=True):
    """Asks the supervisor to change the number of actors of a role."""

    role: ClassVar[str] = "supervisor"
    scaled_role: Name
    count: Annotated[int, Meta(ge=0, le=MAX_ACTORS)]


class StopMesh(Request[Noted], frozen=True, kw_only=True):
    """Asks the supervisor to shut the mesh down gracefully."""

    role: ClassVar[str] = "supervisor"
