"""The peers of a router that connect with a key: who owns which connection, what it may send, and how often.

Pure: time and the allow-list are arguments. A connection is known by its identity, which the peer chooses itself; it
belongs to the key that used it first until that peer is gone, so that no key can speak for another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from gems_actors.errors import ForbiddenError, OverloadedError
from gems_actors.security.permissions import Principal
from protocol.envelope import Header, Kind

_WINDOW_S = 1.0


class Sessions:
    """The connections of all keys."""

    def __init__(self, allowed: Mapping[str, Principal], max_requests_per_s: int, now: float) -> None:
        self._allowed = allowed
        self._max_requests = int(max_requests_per_s * _WINDOW_S)
        self._requests: Counter[str] = Counter()
        self._window_ends_at = now + _WINDOW_S
        self._owners: dict[bytes, str] = {}
        self._strays: set[bytes] = set()
        self._stolen: set[bytes] = set()

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._owners

    def owner_of(self, identity: bytes) -> str | None:
        """Return the key that an identity belongs to; None for a peer without a key."""
        return self._owners.get(identity)

    def is_reachable(self, identity: bytes) -> bool:
        """Return whether messages to an identity reach its owner alone, as far as is known."""
        return identity not in self._stolen

    def claim(self, identity: bytes, user: str) -> bool:
        """Return whether an identity belongs to the sender; one without an owner belongs to it from now on.

        If it belongs to another key, its owner is unreachable until that key sends something itself.
        """
        is_own = self._owners.setdefault(identity, user) == user
        if is_own:
            self._stolen.discard(identity)
        else:
            self._stolen.add(identity)
        return is_own

    def check(self, now: float, user: str, header: Header, body: bytes) -> None:
        """Check that a key may send a message now.

        Raises:
            ForbiddenError: the key does not allow it, or was removed from the allow-list.
            OverloadedError: the key has reached its limit of requests per second.
            BodyError: the type of the body cannot be read.
        """
        principal = self._allowed.get(user)
        if principal is None:
            raise ForbiddenError("expected a key on the router's allow-list, got one that was removed from it")
        if header.kind is Kind.REQUEST:
            self._count(now, user, principal)
        principal.check(header, body)

    def may_relay_run_states(self, identity: bytes) -> bool:
        """Return whether run states in the `Hello` of an identity's owner are accepted."""
        principal = self._allowed.get(self._owners[identity])
        return principal is not None and principal.may_control_runs

    def replace_allow_list(self, allowed: Mapping[str, Principal]) -> None:
        """Use another allow-list from now on."""
        self._allowed = allowed

    def no_longer_allowed(self, role_of: Callable[[bytes], str | None]) -> list[bytes]:
        """Return the identities whose key was removed from the allow-list, or may no longer play their role."""
        return [
            identity
            for identity, user in self._owners.items()
            if (role := role_of(identity)) is not None
            and not ((principal := self._allowed.get(user)) and principal.may_play(role))
        ]

    def forget_strays(self, role_of: Callable[[bytes], str | None]) -> None:
        """Release identities whose peers were unknown at the last call and still are, so that they do not pile up."""
        unknown = {identity for identity in self._owners if role_of(identity) is None}
        for identity in unknown & self._strays:
            del self._owners[identity]
            self._stolen.discard(identity)
        self._strays = unknown

    def _count(self, now: float, user: str, principal: Principal) -> None:
        if now >= self._window_ends_at:
            self._requests.clear()
            self._window_ends_at = now + _WINDOW_S
        self._requests[user] += 1
        if self._requests[user] > self._max_requests:
            text = f"{principal.name} sends more than {self._max_requests} requests a second"
            raise OverloadedError(text, max(self._window_ends_at - now, 0.05))
