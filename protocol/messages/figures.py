"""What memory adds up of a run, and when roles worked on a trajectory."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol.limits import MAX_FIGURES, MAX_ITEMS, MAX_ROUNDS
from protocol.messages import values as v
from protocol.messages.memory import MemoryRequest


class RoundFigures(v.Value, frozen=True, kw_only=True):
    """One round of the loop, over the ended trajectories of a run."""

    trajectories: v.Count
    """Trajectories that drew it."""
    gained: v.Count
    """Requirements that the best image up to this round meets in addition to the best image of the rounds before."""


class MetFigures(v.Value, frozen=True, kw_only=True):
    """How many requirements are met."""

    met: v.Count
    total: v.Count


class RunFigures(v.Reply, frozen=True, kw_only=True):
    """What the trajectories of a run achieved and cost; without records of it, nothing."""

    ended: v.Count = 0
    """Trajectories that ended; `requirements`, `rounds` and `kinds` are about these."""
    requirements: v.Count = 0
    rounds: Annotated[tuple[RoundFigures, ...], Meta(max_length=MAX_ROUNDS)] = ()
    """The rounds in their order."""
    kinds: Annotated[dict[v.Name, MetFigures], Meta(max_length=MAX_ITEMS)] = {}
    """Requirements of the chosen images by their kind."""
    failures: Annotated[dict[v.Name, v.Count], Meta(max_length=MAX_FIGURES)] = {}
    """Trajectories that are failed now, by the code of their failure, of which rare ones may be missing."""
    spent: v.SpentByRole = {}
    """Costs of all trajectories by role."""


class ReadRunFigures(MemoryRequest[RunFigures], frozen=True, kw_only=True):
    """Asks memory what a run achieved and cost so far."""

    of_run: v.Name


class StepTime(v.Value, frozen=True, kw_only=True):
    """When a role worked on a trajectory, and for how long."""

    role: v.Name
    round: Annotated[int, Meta(ge=0, le=MAX_ROUNDS)] = 0
    """Round that it was about; 0 before the first."""
    began_at: v.UnixTime
    """Estimate: not before what it needed was there."""
    ended_at: v.UnixTime
    """Time at which its result was kept; of a drawing, the time at which its verdicts began."""
    seconds: v.Seconds
    """Time that its calls took; of calls side by side, their sum."""


class Timeline(v.Reply, frozen=True, kw_only=True):
    """The work of all roles on one trajectory, in the order in which its results were kept."""

    steps: Annotated[tuple[StepTime, ...], Meta(max_length=MAX_ITEMS)] = ()


class ReadTimeline(MemoryRequest[Timeline], frozen=True, kw_only=True):
    """Asks memory when which role worked on a trajectory; the timeline of an unknown one is empty."""

    trajectory: v.TrajectoryId
