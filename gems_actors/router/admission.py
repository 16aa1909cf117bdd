"""Whether one more request may wait, by what its client has in flight already. Pure."""

from __future__ import annotations

from gems_actors.errors import OverloadedError
from gems_actors.router.budgets import MAX_READERS, MAX_REQUESTED_BYTES, MAX_UNPLAYED_ROLES, MIN_REQUESTS, RETRY_AFTER_S
from gems_actors.router.queues import Peer
from gems_actors.router.requests import Requests
from gems_actors.router.waiting_room import WaitingRoom
from protocol.envelope import Header


class Admission:
    """The budgets of requests."""

    def __init__(self, max_queue: int, requests: Requests, waiting_room: WaitingRoom) -> None:
        self._max_requests = max(max_queue // 2, MIN_REQUESTS)
        self._requests = requests
        self._waiting_room = waiting_room

    def is_spent(self, peer: Peer) -> bool:
        """Return whether a peer has as many requests in flight as it may."""
        account = peer.account
        return account.requests >= self._max_requests or account.requested_bytes >= MAX_REQUESTED_BYTES

    def check(self, peer: Peer | None, header: Header, *, is_reader: bool) -> None:
        """Check a new request of a peer, or of a connection that has not said hello.

        Raises:
            OverloadedError: it has too many requests in flight, or requests wait for too many roles that nobody plays.
        """
        requests = self._requests
        if header.role not in requests.queues and len(requests.queues) >= MAX_UNPLAYED_ROLES:
            requests.forget_empty_queues()
            if header.role not in requests.turns and len(requests.queues) >= MAX_UNPLAYED_ROLES:
                text = f"requests already wait for {len(requests.queues)} roles, the maximum"
                raise OverloadedError(text, RETRY_AFTER_S)
        if peer is None:
            self._waiting_room.check()
        elif self.is_spent(peer):
            count, size = peer.account.requests, peer.account.requested_bytes
            text = f"{count} requests of {size:,} bytes of one client are in flight, the maximum"
            raise OverloadedError(text, RETRY_AFTER_S)
        elif is_reader and peer.account.readers >= MAX_READERS:
            text = f"{MAX_READERS} requests of one client read memory's log, the maximum"
            raise OverloadedError(text, RETRY_AFTER_S)
