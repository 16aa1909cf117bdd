"""Rests: many bulk messages are read together, and nobody who waits does so for longer."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing
import zmq

from gems_actors.tasks import open_background
from gems_actors.transport.links import Link, Message
from gems_actors.transport.rests import MAX_REST_S, Rests
from gems_actors.transport.sockets import open_context, open_dealer, open_router
from protocol.envelope import Header, Kind, Lane, pack_header

BULK = pack_header(Header(Kind.REQUEST, role="planner", lane=Lane.BULK))
INTERACTIVE = pack_header(Header(Kind.REQUEST, role="planner"))
OF_ROUTER = pack_header(Header(Kind.REQUEST, role="router"))
HEARTBEAT = pack_header(Header(Kind.HEARTBEAT))


def rests_after(frame: bytes, *, count: int, gap_s: float) -> Rests:
    """Return what is known after some messages, each of which arrived alone."""
    rests = Rests()
    for number in range(count):
        rests.note(1.0 + number * gap_s, [(b"peer", frame)], place=1)
    return rests


def test_a_process_rests_while_bulk_messages_arrive_one_shortly_after_the_other() -> None:
    assert rests_after(BULK, count=100, gap_s=0.001).rest_s(64)
    assert not rests_after(BULK, count=100, gap_s=0.02).rest_s(64)
    assert not rests_after(BULK, count=3, gap_s=0.001).rest_s(64)


def test_the_more_requests_are_in_flight_the_more_messages_gather() -> None:
    rests = rests_after(BULK, count=100, gap_s=0.0005)
    assert rests.rest_s(64) == pytest.approx(8 * 0.0005, rel=0.1)
    assert rests.rest_s(128) == pytest.approx(16 * 0.0005, rel=0.1)
    assert rests.rest_s(10_000) == MAX_REST_S


def test_a_rest_is_short_where_a_device_is_only_just_kept_busy() -> None:
    rests = rests_after(BULK, count=100, gap_s=0.004)
    assert [rests.rest_s(count) for count in (64, 100, 200, 250, 10_000)] == pytest.approx(
        [0.02, 0.02, 0.04, 0.05, 0.05]
    )


def test_where_few_requests_are_in_flight_none_waits_for_another_one() -> None:
    rests = rests_after(BULK, count=100, gap_s=0.0005)
    assert rests.rest_s(16)
    assert not rests.rest_s(15)
    assert not rests.rest_s(0)


def test_a_process_never_rests_while_interactive_messages_arrive() -> None:
    assert not rests_after(INTERACTIVE, count=100, gap_s=0.0001).rest_s(64)


def test_an_interactive_message_ends_the_rests_of_a_busy_bulk_for_half_a_second() -> None:
    rests = rests_after(BULK, count=100, gap_s=0.001)
    rests.note(1.1, [(b"peer", BULK), (b"peer", INTERACTIVE), (b"peer", BULK)], place=1)
    assert not rests.rest_s(64)
    for number in range(1, 1000):
        rests.note(1.1 + number * 0.001, [(b"peer", BULK)], place=1)
        assert bool(rests.rest_s(64)) == (number >= 500)


def test_what_a_bulk_asks_the_router_itself_neither_begins_rests_nor_ends_them() -> None:
    assert not rests_after(OF_ROUTER, count=100, gap_s=0.001).rest_s(64)
    rests = rests_after(BULK, count=100, gap_s=0.001)
    rests.note(1.101, [(b"peer", OF_ROUTER)], place=1)
    assert rests.rest_s(64)


def test_heartbeats_neither_begin_rests_nor_end_them() -> None:
    assert not rests_after(HEARTBEAT, count=100, gap_s=0.001).rest_s(64)
    rests = rests_after(BULK, count=100, gap_s=0.001)
    rests.note(1.101, [(b"peer", HEARTBEAT)], place=1)
    assert rests.rest_s(64)


def test_bulk_messages_that_would_wait_alone_do_not_rest_again() -> None:
    rests = rests_after(BULK, count=100, gap_s=0.001)
    for number in range(20):
        rests.note(1.1 + number * 0.02, [(b"peer", BULK)], place=1)
    assert not rests.rest_s(64)


class Reader:
    """A link that reads what a DEALER sends, under a clock that stands still unless it is told to move."""

    def __init__(self, folder: Path) -> None:
        self.clock = trio.testing.MockClock()
        self.taken = self._sent = 0
        self._context = open_context()
        self._socket = open_router(self._context)
        self._socket.bind(f"ipc://{folder}/router.ipc")
        self._peer = open_dealer(self._context, f"ipc://{folder}/router.ipc", b"peer")
        self.link = Link(self._socket, self._take)
        self.link.in_flight = lambda: 512

    def close(self) -> None:
        self.link.close()
        self._peer.close()
        self._context.term()

    def _take(self, batch: list[Message]) -> None:
        self.taken += len(batch)

    def send(self, frame: bytes, count: int = 1) -> None:
        for _ in range(count):
            self._peer.send(frame)
        self._sent += count

    async def await_taken(self, *, moves_clock: bool) -> None:
        while self.taken < self._sent:
            if moves_clock:
                self.clock.jump(MAX_REST_S)
            await trio.lowlevel.checkpoint()

    async def await_arrival(self) -> None:
        """Return when a message has arrived, read or not."""
        while self.taken < self._sent and not cast(int, self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            await trio.lowlevel.checkpoint()


def test_a_link_lets_bulk_messages_wait_until_the_rest_is_over_and_reads_at_once_after_an_interactive_one(
    tmp_path: Path,
) -> None:
    async def read() -> None:
        async with open_background() as nursery:
            nursery.start_soon(reader.link.run)
            for _ in range(40):  # many messages in a short time, whatever else the machine does
                reader.send(BULK, 64)
                await reader.await_taken(moves_clock=True)
            await trio.testing.wait_all_tasks_blocked()
            reader.send(BULK)
            await reader.await_arrival()
            await trio.testing.wait_all_tasks_blocked()
            assert reader.taken == 40 * 64, "the link rests"
            reader.send(INTERACTIVE)
            await reader.await_taken(moves_clock=True)
            reader.send(INTERACTIVE)
            await reader.await_taken(moves_clock=False)

    async def read_and_close() -> None:
        try:
            await read()
        finally:
            reader.close()

    reader = Reader(tmp_path)
    trio.run(read_and_close, clock=reader.clock)
