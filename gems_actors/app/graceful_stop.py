"""Notices that a graceful stop waits for nothing: what is in flight cannot be finished by anyone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import trio

from gems_actors.client import Mesh
from gems_actors.errors import RequestError
from gems_actors.roles import BUILT_IN_ROLES
from protocol.messages import ReadStatus, RoleStatus

PATIENCE_S: Final = 10.0
"""How long a role may have no ready actor, a model server be away or the router be silent after a stop was asked for;
a killed process is back within a second."""
_PERIOD_S: Final = 1.0


async def await_hopeless(mesh: Mesh, run: str, asked: trio.Event, patience_s: float = PATIENCE_S) -> str:
    """Return why what a run has in flight cannot be finished, once a graceful stop has waited long enough for it."""
    await asked.wait()
    since: float | None = None
    while True:
        obstacle = "the router does not answer"
        with trio.move_on_after(min(_PERIOD_S, patience_s)):
            try:
                obstacle = obstacle_in((await mesh.ask(ReadStatus())).roles)
            except RequestError as error:
                obstacle = str(error)
        if (state := mesh.run_state(run)) is not None and state.state == "paused":
            obstacle = f"the run is paused by {state.by}"
        now = trio.current_time()
        since = None if not obstacle else now if since is None else since
        if since is not None and now - since >= patience_s:
            return obstacle
        await trio.sleep(min(_PERIOD_S, patience_s))


def obstacle_in(roles: Iterable[RoleStatus]) -> str:
    """Return what keeps a request from being answered: a role without a ready actor, or one whose servers are away."""
    for role in roles:
        if role.role not in BUILT_IN_ROLES:  # another run may wait for a role that this one does not need
            continue
        ready = [actor for actor in role.actors if actor.capacity]
        if role.queued and not ready:
            return f"no {role.role} is ready"
        failing = [actor for actor in ready if actor.busy and actor.figures.get("failing_s")]
        if failing and len(failing) == len(ready):
            return f"{role.role}: {failing[0].note or 'every request fails'}"
    return ""
