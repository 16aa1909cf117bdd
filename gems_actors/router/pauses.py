"""Which requests are paused or cancelled, by the run states that the router knows. Pure."""

from __future__ import annotations

from gems_actors.run_states import RunStates, concerns
from protocol.envelope import Header
from protocol.messages import RunState


class Pauses:
    """The run states, as they apply to requests; those to unstoppable roles are neither paused nor cancelled."""

    def __init__(self, unstoppable_roles: frozenset[str]) -> None:
        self.states = RunStates()
        self._unstoppable_roles = unstoppable_roles

    def blocking(self, header: Header) -> RunState | None:
        """Return the run state that pauses or cancels a request, if any."""
        if not self.states or header.role in self._unstoppable_roles:
            return None
        return self.states.blocking_state(header.run, header.trajectory)

    def affects(self, state: RunState, header: Header) -> bool:
        """Return whether a run state applies to a request."""
        return concerns(state, header) and header.role not in self._unstoppable_roles
