"""What one peer may take of what all share: connections, requests, subscriptions, and runs that it may pause. Pure.

A peer is a connection or, for clients with a key, all connections of that key: further ones get no further share.
Actors have a budget each although those of a host share its key, because their requests are those of many clients.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from gems_actors.errors import OverloadedError
from gems_actors.run_states import Key
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from protocol.codec import peek_type
from protocol.envelope import HEADER_BYTES, Header
from protocol.errors import BodyError
from protocol.messages import ReadLog

MIN_REQUESTS: Final = 1_000
"""Requests that a peer may have in flight, or half of `router.max_queue` if that is more."""
MAX_REQUESTED_BYTES: Final = 256 * 1024 * 1024
"""Bytes of these requests, up to one request more."""
MAX_FOLLOWED: Final = 1_000
"""Runs whose events a peer may follow; further subscriptions are ignored."""
MAX_READERS: Final = 64
"""Requests of a peer for memory's log, each of which may wait for the next record and so hold a place there."""
MAX_CONNECTIONS: Final = 1_000
"""Connections of clients with one key."""
MAX_BEFORE_HELLO: Final = 1_000
"""Requests that wait for the hello of their connections, all together."""
MAX_BEFORE_HELLO_BYTES: Final = 64 * 1024 * 1024
"""Bytes of these requests, up to one request more."""
MAX_UNPLAYED_ROLES: Final = 1_000
"""Role names for which requests may wait although no actor plays them."""
MAX_MARKS: Final = 250
"""Runs and trajectories that one peer may have paused; a quarter of the table that all share."""
MAX_CHANGES: Final = 100
"""Changes of run states that a peer may ask for in `CHANGES_WINDOW_S`; each looks at all requests in flight."""
CHANGES_WINDOW_S: Final = 1.0
_MAX_PEERS: Final = 10_000
RETRY_AFTER_S: Final = 1.0
"""Delay after which a client whose request exceeds a budget may repeat it."""
_RETRY_AFTER_S: Final = 10.0


@dataclass(slots=True)
class Account:
    """What the connections of one peer have taken."""

    connections: int = 0
    requests: int = 0
    """Requests in flight."""
    requested_bytes: int = 0
    """Bytes of these requests."""
    readers: int = 0
    """Those of them that read memory's log."""
    followed: int = 0
    """Runs whose events they follow."""


def may_wait(header: Header, frame: bytes) -> bool:
    """Return whether a request may wait in memory for the next record: a long poll."""
    if not header.role.startswith(MEMORY_ROLE) or shard_of_role(header.role) is None:
        return False
    try:
        return peek_type(frame[HEADER_BYTES:]) == ReadLog.__name__
    except BodyError:
        return False


class Accounts:
    """The accounts of all peers."""

    def __init__(self) -> None:
        self._accounts: dict[Hashable, Account] = {}

    def join(self, owner: Hashable) -> Account:
        """Return the account of a peer, for one more connection.

        Raises:
            OverloadedError: it has as many connections as it may.
        """
        account = self._accounts.setdefault(owner, Account())
        if account.connections >= MAX_CONNECTIONS:
            text = f"expected at most {MAX_CONNECTIONS} connections of clients with one key, got one more"
            raise OverloadedError(text, _RETRY_AFTER_S)
        account.connections += 1
        return account

    def leave(self, owner: Hashable, account: Account) -> None:
        """Take a connection that has ended out of its peer's account."""
        account.connections -= 1
        if not account.connections:
            del self._accounts[owner]


@dataclass(slots=True)
class _Used:
    window_ends_at: float
    changes: int = 0
    marks: set[Key] = field(default_factory=set)


class MarkBudgets:
    """How much of its budget of run states each peer has used."""

    def __init__(self) -> None:
        self._used: dict[Hashable, _Used] = {}

    def spend(self, now: float, peer: Hashable, mark: Key, *, is_kept: bool, is_paused: Callable[[Key], bool]) -> None:
        """Count a change of a run state.

        Args:
            now: time in seconds.
            peer: the key or the connection that asks.
            mark: the run or trajectory.
            is_kept: whether it is paused: other states make room for newer ones.
            is_paused: returns whether a mark is still paused; those that are not count no longer.

        Raises:
            OverloadedError: the peer has used its budget.
        """
        used = self._used.setdefault(peer, _Used(now + CHANGES_WINDOW_S))
        if len(self._used) > _MAX_PEERS:  # connections that never said hello, and so never leave
            del self._used[next(iter(self._used))]
        if now >= used.window_ends_at:
            used.window_ends_at, used.changes = now + CHANGES_WINDOW_S, 0
        if used.changes >= MAX_CHANGES:
            text = f"expected at most {MAX_CHANGES} changes of run states in {CHANGES_WINDOW_S:g} s from one peer"
            raise OverloadedError(text, max(used.window_ends_at - now, 0.05))
        used.changes += 1
        if is_kept and mark not in used.marks:
            if len(used.marks) >= MAX_MARKS:
                used.marks = {kept for kept in used.marks if is_paused(kept)}
            if len(used.marks) >= MAX_MARKS:
                text = f"expected at most {MAX_MARKS} runs and trajectories paused by one peer; resume some first"
                raise OverloadedError(text, _RETRY_AFTER_S)
            used.marks.add(mark)

    def forget(self, peer: Hashable) -> None:
        """Forget a peer that is gone."""
        self._used.pop(peer, None)
