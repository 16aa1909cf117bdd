"""Ownership of identities, the limit of requests, and what a changed allow-list means for connected peers."""

from __future__ import annotations

import pytest

from gems_actors.errors import ForbiddenError, OverloadedError
from gems_actors.security.permissions import Principal
from gems_actors.security.sessions import Sessions
from protocol.codec import encode_body
from protocol.envelope import Header, Kind
from protocol.messages import CountRecords

ASK, BODY = Header(Kind.REQUEST, role="memory"), encode_body(CountRecords())
ANN, BOB = "a" * 40, "b" * 40
ALLOWED = {ANN: Principal("ann", frozenset({"client"})), BOB: Principal("bob", frozenset({"client", "verifier"}))}


def test_an_identity_belongs_to_the_key_that_used_it_first_until_its_peer_is_gone() -> None:
    sessions = Sessions(ALLOWED, 10, 0.0)
    assert sessions.claim(b"id", ANN)
    assert not sessions.claim(b"id", BOB)
    assert sessions.claim(b"id", ANN)
    sessions.forget_strays(lambda _: "")
    sessions.forget_strays(lambda _: "")
    assert not sessions.claim(b"id", BOB)
    sessions.forget_strays(lambda _: None)
    assert b"id" in sessions, "its peer may be about to send Hello"
    sessions.forget_strays(lambda _: None)
    assert b"id" not in sessions
    assert sessions.claim(b"id", BOB)


def test_an_owner_is_unreachable_while_another_key_uses_its_identity() -> None:
    sessions = Sessions(ALLOWED, 10, 0.0)
    sessions.claim(b"id", ANN)
    assert sessions.is_reachable(b"id")
    sessions.claim(b"id", BOB)
    assert not sessions.is_reachable(b"id")
    sessions.claim(b"id", ANN)
    assert sessions.is_reachable(b"id")


def test_requests_of_a_key_are_limited_across_its_connections() -> None:
    sessions = Sessions(ALLOWED, 3, 0.0)
    for _ in range(3):
        sessions.check(0.5, ANN, ASK, BODY)
    with pytest.raises(OverloadedError, match="ann sends more than 3 requests a second") as caught:
        sessions.check(0.6, ANN, ASK, BODY)
    assert caught.value.retry_after_s == pytest.approx(0.4)
    sessions.check(0.6, ANN, Header(Kind.HEARTBEAT), b"")
    sessions.check(0.6, BOB, ASK, BODY)
    sessions.check(1.0, ANN, ASK, BODY)


def test_a_key_that_was_removed_from_the_allow_list_may_do_nothing() -> None:
    sessions = Sessions(ALLOWED, 3, 0.0)
    sessions.replace_allow_list({BOB: ALLOWED[BOB]})
    with pytest.raises(ForbiddenError, match="got one that was removed from it"):
        sessions.check(0.0, ANN, Header(Kind.HEARTBEAT), b"")
    sessions.check(0.0, BOB, Header(Kind.HEARTBEAT), b"")


def test_run_states_are_accepted_only_from_keys_that_may_control_runs() -> None:
    sessions = Sessions({ANN: ALLOWED[ANN], BOB: Principal("bob", frozenset({"verifier"}))}, 10, 0.0)
    sessions.claim(b"ann", ANN)
    sessions.claim(b"bob", BOB)
    assert sessions.may_relay_run_states(b"ann")
    assert not sessions.may_relay_run_states(b"bob")


def test_peers_whose_role_is_no_longer_allowed_are_listed() -> None:
    sessions = Sessions(ALLOWED, 3, 0.0)
    roles = {b"client of ann": "", b"client of bob": "", b"verifier of bob": "verifier"}
    for identity in roles:
        sessions.claim(identity, ANN if identity.endswith(b"ann") else BOB)
    assert sessions.no_longer_allowed(roles.get) == []
    sessions.replace_allow_list({BOB: Principal("bob", frozenset({"client"}))})
    assert sessions.no_longer_allowed(roles.get) == [b"client of ann", b"verifier of bob"]
