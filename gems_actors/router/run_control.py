"""Pauses, resumes and cancels runs and trajectories: what clients ask for, and what other routers have told. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from gems_actors.router.budgets import MarkBudgets
from gems_actors.router.outbox import Outbox
from gems_actors.router.pauses import Pauses
from gems_actors.router.queues import Peer, Ticket
from gems_actors.router.requests import Requests
from gems_actors.run_states import WHOLE_RUN, cancellation_of
from protocol import messages as m
from protocol.envelope import Kind


class RunControl:
    """Changes run states, tells all peers, and applies them to the requests in flight."""

    def __init__(
        self, epoch: str, outbox: Outbox, peers: Mapping[bytes, Peer], pauses: Pauses, requests: Requests
    ) -> None:
        self._epoch = epoch
        self._outbox = outbox
        self._peers = peers
        self._pauses = pauses
        self._requests = requests
        self._budgets = MarkBudgets()

    def control(
        self, now: float, run: bytes, trajectory: bytes | None, action: m.Control, by: str, peer: Hashable
    ) -> m.Controlled:
        """Pause, resume or cancel a run or one of its trajectories; `peer` is the key or the connection that asks.

        Raises:
            OverloadedError: the peer has used its budget of run states, or too many runs are paused.
        """
        trajectory, states = WHOLE_RUN if trajectory is None else trajectory, self._pauses.states
        self._budgets.spend(now, peer, (run, trajectory), is_kept=action == "pause", is_paused=states.is_paused)
        before = states.phase_of(run, trajectory)
        wanted = m.RunState(run=run, trajectory=trajectory, state=before, revision=0)
        concerned = self._affected(wanted)
        in_hand = sum(ticket.holder is not None for ticket in concerned)
        self.apply(now, states.change(run, trajectory, action, by, self._requests.tickets.has_run))
        return m.Controlled(before=before, waiting=len(concerned) - in_hand, in_hand=in_hand)

    def apply(self, now: float, news: list[m.RunState]) -> None:
        """Tell all peers the new run states, so that they outlive this router, then apply them to requests."""
        for identity in self._peers if news else ():
            self._outbox.post(identity, Kind.PULSE, m.Pulse(epoch=self._epoch, run_states=tuple(news)))
        for state in news:
            match state.state:
                case "paused":
                    for queue in self._requests.queues.values():
                        queue.park_those(state.run, lambda ticket, it=state: self._pauses.affects(it, ticket.header))  # type: ignore[misc]
                case "cancelled":
                    for ticket in self._affected(state):
                        self.cancel(ticket, state)
                case "running":
                    for role, queue in self._requests.queues.items():
                        queue.release_those(lambda ticket: self._pauses.blocking(ticket.header) is None)
                        self._requests.hand_out(now, role)

    def cancel(self, ticket: Ticket, state: m.RunState) -> None:
        """Cancel a request because of a run state."""
        error = cancellation_of(state)
        self._requests.fail_and_cancel(ticket, error, reason=str(error))

    def forget(self, identity: bytes) -> None:
        """Forget a peer that is gone."""
        self._budgets.forget(identity)

    def _affected(self, state: m.RunState) -> list[Ticket]:
        tickets = self._requests.tickets.of_run(state.run)
        return [ticket for ticket in tickets if self._pauses.affects(state, ticket.header)]
