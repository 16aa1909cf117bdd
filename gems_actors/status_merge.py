"""Merges the replies of several routers of one mesh. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import structs

from gems_actors.run_states import RunStates
from protocol.limits import CALLS, CALLS_WITHIN
from protocol.messages import (
    ActorStatus,
    Controlled,
    ControlRun,
    MeshStatus,
    Reply,
    Request,
    RoleStatus,
)
from protocol.messages.values import Control, RunPhase

_AFTER: Final[dict[Control, RunPhase]] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}


def merge_answers(request: Request[Any], answers: Sequence[Reply]) -> Reply:
    """Merge the replies of routers to one request: statuses and counts are merged, otherwise the first reply stands.

    A router may learn of a new run state from a peer before it reads the request itself. So where replies differ, the
    state before is the one that is not the result.
    """
    if isinstance(request, ControlRun):
        done = [answer for answer in answers if isinstance(answer, Controlled)]
        after = _AFTER[request.action]
        return Controlled(
            before=next((answer.before for answer in done if answer.before != after), after),
            waiting=sum(answer.waiting for answer in done),
            in_hand=sum(answer.in_hand for answer in done),
        )
    tables = {answer.epoch: answer for answer in answers if isinstance(answer, MeshStatus)}  # a router may answer twice
    return merge_statuses([*tables.values()]) if tables else answers[0]


def merge_statuses(found: Sequence[MeshStatus]) -> MeshStatus:
    """Merge statuses; an actor that serves several routers is listed once, with its sums over all of them."""
    if len(found) == 1:
        return found[0]
    run_states = RunStates()
    for status in found:
        run_states.merge(status.run_states)
    roles = sorted({role.role for status in found for role in status.roles})
    return MeshStatus(
        epoch="+".join(status.epoch for status in found),
        uptime_s=max(status.uptime_s for status in found),
        roles=tuple(
            _merge_roles([role for status in found for role in status.roles if role.role == name]) for name in roles
        ),
        clients=max(status.clients for status in found),
        requeued=sum(status.requeued for status in found),
        run_states=run_states.all(),
    )


def _merge_roles(found: Sequence[RoleStatus]) -> RoleStatus:
    names = sorted({actor.name for role in found for actor in role.actors})
    latest = min(found, key=lambda role: math.inf if role.last_error_s is None else role.last_error_s)
    return RoleStatus(
        role=found[0].role,
        queued=sum(role.queued for role in found),
        oldest_s=max(role.oldest_s for role in found),
        actors=tuple(
            _merge_actors([actor for role in found for actor in role.actors if actor.name == name]) for name in names
        ),
        paused=sum(role.paused for role in found),
        totals=_merge_totals([role.totals for role in found]),
        last_error=latest.last_error,
        last_error_s=latest.last_error_s,
    )


def _merge_totals(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Merge counts: each router counts its own calls, and all of them hear every actor's other counts."""
    names = dict.fromkeys(name for totals in found for name in totals)
    own = {name for name in names if name in CALLS or name.startswith(CALLS_WITHIN)}
    return {name: (sum if name in own else max)(totals.get(name, 0.0) for totals in found) for name in names}


def _merge_actors(found: Sequence[ActorStatus]) -> ActorStatus:
    freshest = min(found, key=lambda actor: actor.silent_s)
    return structs.replace(
        freshest,
        capacity=sum(actor.capacity for actor in found),
        busy=sum(actor.busy for actor in found),
        handled=sum(actor.handled for actor in found),
        oldest_s=max(actor.oldest_s for actor in found),
    )
