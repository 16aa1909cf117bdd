"""Whose identity is whose, how much a key asks, and who has to go when the list changes."""

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


def test_an_identity_belongs_to_who_used_it_first_until_its_process_is_gone() -> None:
    guests = Sessions(ALLOWED, 10, 0.0)
    assert guests.claim(b"id", ANN)
    assert not guests.claim(b"id", BOB)
    assert guests.claim(b"id", ANN)
    guests.forget_strays(lambda _: "")
    guests.forget_strays(lambda _: "")
    assert not guests.claim(b"id", BOB)
    guests.forget_strays(lambda _: None)
    assert b"id" in guests, "it may be about to say hello"
    guests.forget_strays(lambda _: None)
    assert b"id" not in guests
    assert guests.claim(b"id", BOB)


def test_an_owner_whose_identity_another_uses_is_told_nothing_until_it_is_heard_again() -> None:
    guests = Sessions(ALLOWED, 10, 0.0)
    guests.claim(b"id", ANN)
    assert guests.can_be_told(b"id")
    guests.claim(b"id", BOB)
    assert not guests.can_be_told(b"id")
    guests.claim(b"id", ANN)
    assert guests.can_be_told(b"id")


def test_a_key_asks_so_much_a_second_by_all_its_connections_and_then_has_to_wait() -> None:
    guests = Sessions(ALLOWED, 3, 0.0)
    for _ in range(3):
        guests.check(0.5, ANN, ASK, BODY)
    with pytest.raises(OverloadedError, match="ann asks more than 3 times a second") as caught:
        guests.check(0.6, ANN, ASK, BODY)
    assert caught.value.retry_after_s == pytest.approx(0.4)
    guests.check(0.6, ANN, Header(Kind.HEARTBEAT), b"")
    guests.check(0.6, BOB, ASK, BODY)
    guests.check(1.0, ANN, ASK, BODY)


def test_a_key_that_is_on_the_list_no_more_may_do_nothing() -> None:
    guests = Sessions(ALLOWED, 3, 0.0)
    guests.admit({BOB: ALLOWED[BOB]})
    with pytest.raises(ForbiddenError, match="got one that was taken out of it"):
        guests.check(0.0, ANN, Header(Kind.HEARTBEAT), b"")
    guests.check(0.0, BOB, Header(Kind.HEARTBEAT), b"")


def test_what_is_heard_of_paused_runs_is_believed_of_who_could_pause_them() -> None:
    guests = Sessions({ANN: ALLOWED[ANN], BOB: Principal("bob", frozenset({"verifier"}))}, 10, 0.0)
    guests.claim(b"ann", ANN)
    guests.claim(b"bob", BOB)
    assert guests.may_relay_run_states(b"ann")
    assert not guests.may_relay_run_states(b"bob")


def test_who_may_no_longer_be_what_it_is_has_to_go() -> None:
    guests = Sessions(ALLOWED, 3, 0.0)
    roles = {b"client of ann": "", b"client of bob": "", b"verifier of bob": "verifier"}
    for identity in roles:
        guests.claim(identity, ANN if identity.endswith(b"ann") else BOB)
    assert guests.unwelcome(roles.get) == []
    guests.admit({BOB: Principal("bob", frozenset({"client"}))})
    assert guests.unwelcome(roles.get) == [b"client of ann", b"verifier of bob"]
