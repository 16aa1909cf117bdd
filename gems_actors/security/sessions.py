"""Those who come to a router with a key: which connection is whose, what each may send, and how much it asks.

Pure: time is an argument, the allow-list is handed in. An identity, by which the router answers, is chosen by the peer
and belongs to the key that used it first, until its peer is gone: nobody can speak for another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from gems_actors.errors import ForbiddenError, OverloadedError
from gems_actors.security.permissions import Principal
from protocol.envelope import Header, Kind

_WINDOW_S = 1.0


class Sessions:
    """Everybody who came with a key."""

    def __init__(self, allowed: Mapping[str, Principal], max_requests_per_s: int, now: float) -> None:
        self._allowed = allowed
        self._max_requests = int(max_requests_per_s * _WINDOW_S)
        self._asked: Counter[str] = Counter()
        self._window_ends_at = now + _WINDOW_S
        self._owners: dict[bytes, str] = {}
        self._strays: set[bytes] = set()
        self._stolen: set[bytes] = set()

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._owners

    def can_be_told(self, identity: bytes) -> bool:
        """Return whether what is sent to an identity reaches its owner, as far as is known, and nobody else."""
        return identity not in self._stolen

    def claim(self, identity: bytes, user: str) -> bool:
        """Return whether an identity is its sender's, which it becomes where it was nobody's.

        Where it is another's, that one is told nothing more until it is heard itself.
        """
        is_own = self._owners.setdefault(identity, user) == user
        if is_own:
            self._stolen.discard(identity)
        else:
            self._stolen.add(identity)
        return is_own

    def check(self, now: float, user: str, header: Header, body: bytes) -> None:
        """See that a user may send a message now.

        Raises:
            ForbiddenError: its key does not allow it, or is not on the list any more.
            OverloadedError: it has asked too much for now.
            BodyError: the type of the body cannot be told.
        """
        guest = self._allowed.get(user)
        if guest is None:
            raise ForbiddenError("expected a key of the router's allow-list, got one that was taken out of it")
        if header.kind is Kind.REQUEST:
            self._count(now, user)
        guest.check(header, body)

    def may_relay_run_states(self, identity: bytes) -> bool:
        """Return whether what the owner of an identity has heard of paused and cancelled runs is to be believed."""
        guest = self._allowed.get(self._owners[identity])
        return guest is not None and guest.may_control_runs

    def admit(self, allowed: Mapping[str, Principal]) -> None:
        """Go by another allow-list from now on."""
        self._allowed = allowed

    def unwelcome(self, role_of: Callable[[bytes], str | None]) -> list[bytes]:
        """Return the identities of those whom the allow-list does not name any more, or not for the role they play."""
        return [
            identity
            for identity, user in self._owners.items()
            if (role := role_of(identity)) is not None
            and not ((guest := self._allowed.get(user)) and guest.may_play(role))
        ]

    def forget_strays(self, role_of: Callable[[bytes], str | None]) -> None:
        """Give up identities whose peers were unknown both the last time and now, else they would be kept for ever."""
        unknown = {identity for identity in self._owners if role_of(identity) is None}
        for identity in unknown & self._strays:
            del self._owners[identity]
            self._stolen.discard(identity)
        self._strays = unknown

    def _count(self, now: float, user: str) -> None:
        if now >= self._window_ends_at:
            self._asked.clear()
            self._window_ends_at = now + _WINDOW_S
        self._asked[user] += 1
        if self._asked[user] > self._max_requests:
            text = f"{self._name_of(user)} asks more than {self._max_requests} times a second"
            raise OverloadedError(text, max(self._window_ends_at - now, 0.05))

    def _name_of(self, user: str) -> str:
        guest = self._allowed.get(user)
        return guest.name if guest else "somebody"
