"""Which peers follow the events of which runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from gems_actors.router.budgets import MAX_FOLLOWED
from gems_actors.router.queues import Peer


class Subscriptions:
    """The followers of all runs."""

    def __init__(self) -> None:
        self._followers: dict[bytes, set[bytes]] = {}

    def __len__(self) -> int:
        """Number of runs that are followed."""
        return len(self._followers)

    def add(self, peer: Peer, run: bytes) -> None:
        """Let a peer follow a run, unless it follows as many as it may."""
        if run in peer.followed or peer.account.followed < MAX_FOLLOWED:
            peer.account.followed += run not in peer.followed
            peer.followed.add(run)
            self._followers.setdefault(run, set()).add(peer.identity)

    def followers(self, run: bytes) -> Iterable[bytes]:
        """Return the identities of the peers that follow a run."""
        return self._followers.get(run, ())

    def drop(self, peer: Peer) -> None:
        """Forget a peer that is gone."""
        for run in peer.followed:
            self._followers[run].discard(peer.identity)
            if not self._followers[run]:
                del self._followers[run]
