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
from protocol.codec import decode_body, encode_message
from protocol.envelope import HEADER_BYTES, Header, Kind, unpack_header
from protocol.messages import Body, Cancel, Heartbeat, Held, Hello, HelloAgain, Plan, Pulse, Welcome

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


class IdleHandler:
    """An actor that has answered everything."""

    def take(self, connection: RouterConnection, header: Header, frame: bytes) -> None:
        pass

    def cancel(self, connection: RouterConnection, header: Header, cancel: Cancel) -> None:
        pass

    def holding(self, connection: RouterConnection) -> tuple[Held, ...]:
        return ()

    def holding_elsewhere(self, connection: RouterConnection) -> tuple[Held, ...]:
        return ()

    def claim(self, connection: RouterConnection, id_: bytes) -> bool:
        return False

    def move(self, old: RouterConnection, others: tuple[RouterConnection, ...]) -> None:
        pass

    def figures(self) -> dict[str, float]:
        return {}

    def note(self) -> str:
        return ""


class Router:
    """The far end of a connection: it answers what a test makes it answer."""

    def __init__(self, state: ClientState) -> None:
        self.link = KeptLink()
        self._takes: list[Callable[[list[Message]], None]] = []
        self.connection = RouterConnection(self._open_link, "router", state)

    def _open_link(self, take: Callable[[list[Message]], None]) -> KeptLink:
        self._takes.append(take)
        return self.link

    def send(self, kind: Kind, body: Body) -> None:
        """Send a message to the process."""
        (take,) = self._takes
        take([[encode_message(Header(kind), body)]])

    def answers(self) -> list[bytes]:
        """Return the ids of the answers that it got, and forget all that it got."""
        sent, self.link.sent = self.link.sent, []
        return [header.id for header in map(unpack_header, sent) if header.kind is Kind.REPLY]

    def told_as_held(self) -> set[bytes]:
        """Return the ids that the last heartbeat says another router may hand out, and forget all that it got."""
        sent, self.link.sent = self.link.sent, []
        beat = [decode_body(frame[HEADER_BYTES:]) for frame in sent if unpack_header(frame).kind is Kind.HEARTBEAT][-1]
        assert isinstance(beat, Heartbeat)
        return {held.id for held in beat.held_elsewhere}


async def test_an_answer_that_a_replaced_router_had_is_told_to_the_others_until_its_client_must_have_it() -> None:
    """Its client asks one of them, so that it would be worked out again."""
    state = ClientState(Hello(name="actor"), lambda _: None, lambda _: None, lambda _: None, lambda period_s: period_s)
    state.role, state.handler = "planner", IdleHandler()
    first, second = Router(state), Router(state)
    state.connections = (first.connection, second.connection)
    for router in (first, second):
        router.send(Kind.WELCOME, Welcome(epoch="1", heartbeat_s=1.0, role="planner"))
    reply = encode_message(Header(Kind.REPLY, id=b"a" * 16, role="planner", attempt=1), Plan(prompt="a red fox"))

    async def told_in_the_next_second() -> set[bytes]:
        await trio.sleep(1.0)
        second.send(Kind.PULSE, Pulse(epoch="1"))
        return second.told_as_held()

    async with open_background() as nursery:
        for router in (first, second):
            nursery.start_soon(router.connection.run_heartbeat)
        await trio.sleep(0.1)
        first.connection.answer(reply)
        first.send(Kind.HELLO_AGAIN, HelloAgain(epoch="2"))  # a new router, which cannot have the answer
        first.answers()
        assert await told_in_the_next_second() == {b"a" * 16}
        first.send(Kind.WELCOME, Welcome(epoch="2", heartbeat_s=1.0, role="planner"))
        assert first.answers() == [b"a" * 16]
        first.send(Kind.PULSE, Pulse(epoch="2"))  # answers a heartbeat that was sent before the answer
        assert await told_in_the_next_second() == {b"a" * 16}
        first.send(Kind.PULSE, Pulse(epoch="2"))
        assert await told_in_the_next_second() == {b"a" * 16}
        second.send(Kind.PULSE, Pulse(epoch="1", claimed=(b"a" * 16,)))
        assert second.answers() == [b"a" * 16]
        for _ in range(3):
            first.send(Kind.PULSE, Pulse(epoch="2"))
            told = await told_in_the_next_second()
        assert told == set()
