"""Rests: many bulk messages are read together, and nobody who waits does so for longer."""

from __future__ import annotations

from gems_actors.transport.rests import Rests
from protocol.envelope import Header, Kind, Lane, pack_header

BULK = pack_header(Header(Kind.REQUEST, role="planner", lane=Lane.BULK))
INTERACTIVE = pack_header(Header(Kind.REQUEST, role="planner"))
HEARTBEAT = pack_header(Header(Kind.HEARTBEAT))


def rests_after(frame: bytes, *, count: int, gap_s: float) -> Rests:
    """Return what is known after some messages, each of which arrived alone."""
    rests = Rests()
    for number in range(count):
        rests.note(1.0 + number * gap_s, [(b"peer", frame)], place=1)
    return rests


def test_a_process_rests_while_bulk_messages_arrive_one_shortly_after_the_other() -> None:
    assert rests_after(BULK, count=100, gap_s=0.001).is_due
    assert not rests_after(BULK, count=100, gap_s=0.01).is_due
    assert not rests_after(BULK, count=3, gap_s=0.001).is_due


def test_a_process_never_rests_while_interactive_messages_arrive() -> None:
    assert not rests_after(INTERACTIVE, count=100, gap_s=0.0001).is_due


def test_one_interactive_message_ends_the_rests_of_a_busy_bulk_until_it_is_answered() -> None:
    rests = rests_after(BULK, count=100, gap_s=0.001)
    rests.note(1.1, [(b"peer", BULK), (b"peer", INTERACTIVE), (b"peer", BULK)], place=1)
    assert not rests.is_due
    rests.note(1.101, [(b"peer", BULK)], place=1)
    assert rests.is_due


def test_heartbeats_neither_begin_rests_nor_end_them() -> None:
    assert not rests_after(HEARTBEAT, count=100, gap_s=0.001).is_due
    rests = rests_after(BULK, count=100, gap_s=0.001)
    rests.note(1.101, [(b"peer", HEARTBEAT)], place=1)
    assert rests.is_due


def test_bulk_messages_that_would_wait_alone_do_not_rest_again() -> None:
    rests = rests_after(BULK, count=100, gap_s=0.001)
    for number in range(20):
        rests.note(1.1 + number * 0.005, [(b"peer", BULK)], place=1)
    assert not rests.is_due
