"""A connection to one router, over a link that keeps what is sent."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import trio
from msgspec import structs

from gems_actors.router_connection import ClientState, PendingRequest, RouterConnection
from gems_actors.tasks import open_background
from gems_actors.transport.links import Message
from protocol.codec import encode_message
from protocol.envelope import Header, Kind, unpack_header
from protocol.messages import Hello, Welcome

pytestmark = pytest.mark.virtual_time


class KeptLink:
    """A link that is always up, and sends nothing."""

    unsent = 0
    sends_bundles = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.in_flight: Callable[[], int] = int

    def send(self, *frames: bytes) -> None:
        self.sent += frames

    async def run(self) -> None:
        await trio.sleep_forever()

    async def catch_up(self) -> None:
        pass

    def discard_unsent(self) -> None:
        pass

    async def flush(self) -> None:
        pass

    def close(self, linger_ms: int = 0) -> None:
        pass

    def kinds(self) -> list[Kind]:
        """Return the kinds of the messages that were sent, and forget them."""
        sent, self.sent = self.sent, []
        return [unpack_header(frame).kind for frame in sent]


@pytest.mark.parametrize(
    ("role_in_welcome", "copies"), [(None, 1), ("", 1), ("", 3)], ids=["earlier version", "once", "three times"]
)
async def test_a_hello_that_is_lost_behind_one_that_was_answered_is_said_again(
    role_in_welcome: str | None, copies: int
) -> None:
    """The first one is that of a client, the second says which role it plays."""
    link = KeptLink()
    takes: list[object] = []
    state = ClientState(Hello(name="actor"), lambda _: None, lambda _: None, lambda _: None, float)

    def open_link(take: object) -> KeptLink:
        takes.append(take)
        return link

    connection = RouterConnection(open_link, "router", state)
    state.connections = (connection,)
    body = Welcome(epoch="1", heartbeat_s=1.0, role=role_in_welcome)
    welcome: list[Message] = [[encode_message(Header(Kind.WELCOME), body)]]
    (take,) = takes
    assert callable(take)

    connection.say_hello()
    state.role = "planner"
    connection.say_hello()
    assert link.kinds() == [Kind.HELLO, Kind.HELLO]
    take(welcome * copies)
    async with open_background() as nursery:
        nursery.start_soon(connection.run_heartbeat)
        await trio.sleep(1.5)
        assert link.kinds() == [Kind.HELLO, Kind.HEARTBEAT]
        answer = structs.replace(body, role=None if role_in_welcome is None else "planner")
        take([[encode_message(Header(Kind.WELCOME), answer)]])
        await trio.sleep(1.0)
        assert link.kinds() == [Kind.HEARTBEAT]


async def test_heartbeats_are_sent_at_the_beats_of_the_host_at_the_interval_that_the_router_sets() -> None:
    asked_for: list[float] = []

    def seconds_to_beat(period_s: float) -> float:
        asked_for.append(period_s)
        return 7.0 - trio.current_time() % 7.0

    link = KeptLink()
    state = ClientState(Hello(name="actor"), lambda _: None, lambda _: None, lambda _: None, seconds_to_beat)
    takes: list[object] = []

    def open_link(take: object) -> KeptLink:
        takes.append(take)
        return link

    connection = RouterConnection(open_link, "router", state)
    state.connections = (connection,)
    (take,) = takes
    assert callable(take)
    take([[encode_message(Header(Kind.WELCOME), Welcome(epoch="1", heartbeat_s=5.0, role=""))]])
    async with open_background() as nursery:
        await trio.sleep(3.0)
        nursery.start_soon(connection.run_heartbeat)
        await trio.sleep(3.9)
        assert link.kinds() == []
        await trio.sleep(0.2)
        assert link.kinds() == [Kind.HEARTBEAT]
    assert asked_for == [5.0, 5.0]


async def test_a_link_knows_how_many_requests_wait_for_an_answer() -> None:
    link = KeptLink()
    state = ClientState(Hello(name="client"), lambda _: None, lambda _: None, lambda _: None, float)
    connection = RouterConnection(lambda _: link, "router", state)
    assert link.in_flight() == 0
    state.pending[b"1"] = PendingRequest(Header(Kind.REQUEST), b"", math.inf, connection)
    assert link.in_flight() == 1
