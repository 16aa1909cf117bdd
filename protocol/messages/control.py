"""The mesh about itself: its status, and the requests that pause, resume, cancel, scale and stop."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, field

from protocol.messages.link import RunState
from protocol.messages.values import Control, Count, Reply, Request, RunName, RunPhase, TrajectoryId, Value


class ActorStatus(Value, frozen=True, kw_only=True):
    """One actor as the router sees it."""

    name: str
    role: str
    host: str
    pid: Count
    version: str
    capacity: Count
    busy: Count
    handled: Count
    silent_s: float
    oldest_s: float
    """For how long it has held the request that it has held longest; 0 where it holds none."""
    figures: dict[str, float] = {}
    note: str = ""
    """What it does while it takes no requests, such as loading weights; else what is wrong, such as a server gone."""


class RoleStatus(Value, frozen=True, kw_only=True):
    """One role as the router sees it."""

    role: str
    queued: Count
    oldest_s: float
    """Age of the request that has waited longest."""
    actors: tuple[ActorStatus, ...]
    paused: Count = 0
    """Requests, beside those queued, that wait until their run or trajectory goes on."""


class MeshStatus(Reply, frozen=True, kw_only=True):
    """The whole mesh as the router sees it, from its own table."""

    epoch: str
    uptime_s: float
    roles: tuple[RoleStatus, ...]
    clients: Count
    requeued: Count
    """Requests handed out again because the actor that held them was lost."""
    run_states: tuple[RunState, ...] = field(default=(), name="marks")


class ReadStatus(Request[MeshStatus], frozen=True, kw_only=True):
    """Asks the router for its table."""

    role: ClassVar[str] = "router"


class Noted(Reply, frozen=True, kw_only=True):
    """The answer where there is nothing to say but that it was done."""


class ReportLoss(Request[Noted], frozen=True, kw_only=True):
    """The supervisor saw an actor's process end: what it held goes to others at once."""

    role: ClassVar[str] = "router"
    name: str


class Controlled(Reply, frozen=True, kw_only=True):
    """What a run or a trajectory has under way in the mesh, and how it stood with it before."""

    before: RunPhase
    waiting: Count
    """Requests that waited for an actor."""
    in_hand: Count
    """Requests that actors had in hand: they end where it is paused, and are called off where it is cancelled."""


class ControlRun(Request[Controlled], frozen=True, kw_only=True):
    """Asks the router to pause, resume or cancel a run or one trajectory of it; what it resumes may be cancelled."""

    role: ClassVar[str] = "router"
    run: RunName
    trajectory: TrajectoryId | None = None
    """None: the whole run; to resume it is to resume all of its trajectories."""
    action: Control
    by: Annotated[str, Meta(max_length=200)] = ""
    """Who wants it, in words."""


class Scaled(Reply, frozen=True, kw_only=True):
    """How many actors of the role there were, and how many there will be."""

    before: Count
    after: Count


class ScaleRole(Request[Scaled], frozen=True, kw_only=True):
    """Asks the supervisor for another number of actors of one role."""

    role: ClassVar[str] = "supervisor"
    scaled_role: str
    count: Annotated[int, Meta(ge=0, le=4096)]


class StopMesh(Request[Noted], frozen=True, kw_only=True):
    """Asks the supervisor to drain and end the mesh."""

    role: ClassVar[str] = "supervisor"
