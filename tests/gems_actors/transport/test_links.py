"""ZeroMQ under trio: no message is missed, whatever races with what."""

from __future__ import annotations

import random
import select
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
import zmq

from gems_actors.security.keys import ConnectingKeys, KeyPair
from gems_actors.tasks import open_background
from gems_actors.transport.links import Link, Message
from gems_actors.transport.refusals import await_refusal
from gems_actors.transport.sockets import open_dealer, open_router
from protocol.bundles import BUNDLE_START, unbundled
from protocol.envelope import Header, Kind, pack_header


class Ends:
    """A ROUTER that echoes messages, and a DEALER that collects them."""

    def __init__(
        self,
        address: str,
        *,
        reads_bundles: Callable[[bytes], bool] | None = None,
        has_large_frames: bool = False,
    ) -> None:
        self.address = address
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.returned: list[bytes] = []
        self.undeliverable: list[Message] = []
        self.arrival = trio.Event()
        self.dealer_socket = open_dealer(self.context, address, b"dealer")
        self.dealer = Link(self.dealer_socket, self._take, has_large_frames=has_large_frames)
        self.router_socket = open_router(self.context)
        self.router = Link(
            self.router_socket,
            self._echo,
            self.undeliverable.append,
            reads_bundles=reads_bundles,
            has_large_frames=has_large_frames,
        )

    def bind(self) -> None:
        self.router_socket.bind(self.address)

    def await_readable(self) -> bool:
        """Wait up to 0.1 s for a message to the router, and return whether there is one."""
        return bool(self.router_socket.poll(100))

    def close(self) -> None:
        self.dealer.close()
        self.router.close()
        self.context.term()

    def _echo(self, batch: list[Message]) -> None:
        for identity, frame in batch:
            self.router.send(identity, frame)

    def _take(self, batch: list[Message]) -> None:
        self.returned += [frame for (frame,) in batch]
        self.arrival.set()

    async def await_returned(self, count: int) -> None:
        while len(self.returned) < count:
            self.arrival = trio.Event()
            await self.arrival.wait()


@asynccontextmanager
async def open_ends(folder: Path, *, is_bound: bool = True, has_large_frames: bool = False) -> AsyncIterator[Ends]:
    ends = Ends(f"ipc://{folder}/echo.ipc", has_large_frames=has_large_frames)
    try:
        if is_bound:
            ends.bind()
        async with open_background() as nursery:
            nursery.start_soon(ends.dealer.run)
            nursery.start_soon(ends.router.run)
            yield ends
    finally:
        ends.close()


@asynccontextmanager
async def open_unread(folder: Path) -> AsyncIterator[tuple[Ends, trio.Nursery]]:
    """Run a DEALER whose first message has arrived at a ROUTER that nothing runs yet."""
    ends = Ends(f"ipc://{folder}/echo.ipc")
    try:
        ends.bind()
        async with open_background() as nursery:
            nursery.start_soon(ends.dealer.run)
            ends.dealer.send(b"arrives before the router looks")
            while not await trio.to_thread.run_sync(ends.await_readable):
                pass
            yield ends, nursery
    finally:
        ends.close()


async def test_twenty_thousand_messages_return_in_order(tmp_path: Path) -> None:
    async with open_ends(tmp_path) as ends:
        wanted = [b"%d" % number for number in range(20_000)]
        for start in range(0, len(wanted), 256):
            for frame in wanted[start : start + 256]:
                ends.dealer.send(frame)
            await ends.await_returned(start + 1)
        await ends.await_returned(len(wanted))
        assert ends.returned == wanted


async def test_bursts_and_pauses_of_many_tasks_lose_nothing(tmp_path: Path) -> None:
    dice = random.Random(1)

    async with open_ends(tmp_path) as ends, trio.open_nursery() as nursery:

        async def send(task: int) -> None:
            for number in range(40):
                ends.dealer.send(b"%d.%d" % (task, number))
                if dice.random() < 0.3:
                    await trio.sleep(dice.random() * 0.004)  # long enough for the other side to wait on its descriptor

        for task in range(25):
            nursery.start_soon(send, task)
        await ends.await_returned(1000)
        assert len(set(ends.returned)) == 1000


async def test_a_message_received_while_sending_is_answered_at_once(tmp_path: Path) -> None:
    async with open_unread(tmp_path) as (ends, nursery):
        nursery.start_soon(ends.router.run_sender)
        await trio.testing.wait_all_tasks_blocked()
        ends.router.send(b"dealer", b"makes it receive")
        await ends.await_returned(1)
        await trio.testing.wait_all_tasks_blocked()
        assert ends.router.unsent == 0


async def test_what_arrives_just_before_a_message_that_is_alone_is_sent_is_read(tmp_path: Path) -> None:
    async with open_unread(tmp_path) as (ends, _):
        for number in range(20):
            await trio.testing.wait_all_tasks_blocked(0.005)
            ends.router_socket.send_multipart([b"dealer", b"unasked"])
            assert select.select([ends.dealer_socket], [], [], 10)[0]
            ends.dealer.send(b"takes the signal of what has arrived")
            with trio.fail_after(10):
                await ends.await_returned(number + 1)


@pytest.mark.parametrize("crowd", [1, 1024])  # 512 are a batch
async def test_a_flood_blocks_neither_sending_nor_other_tasks(crowd: int) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = open_router(context)
    socket.bind("inproc://flooded")
    rude = open_dealer(context, "inproc://flooded", b"rude")
    taken = 0

    def take(batch: list[Message]) -> None:  # each message causes another one, so there is always more to receive
        nonlocal taken
        taken += len(batch)
        for identity, frame in batch if taken < 100_000 else ():
            flooded.send(identity, frame)
            rude.send(b"again", zmq.NOBLOCK)

    flooded = Link(socket, take)
    async with open_background() as nursery:
        nursery.start_soon(flooded.run)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(crowd):
            rude.send(b"first")
        unsent = []
        for _ in range(20):
            await trio.lowlevel.checkpoint()
            unsent.append(flooded.unsent)
    flooded.close()
    rude.close()
    context.term()
    assert 0 < taken < 100_000
    assert max(unsent) <= 2 * (crowd + 512)


async def test_a_message_sent_before_the_router_exists_arrives_later(tmp_path: Path) -> None:
    async with open_ends(tmp_path, is_bound=False) as ends:
        ends.dealer.send(b"early")
        await trio.testing.wait_all_tasks_blocked()
        assert ends.dealer.unsent == 1
        ends.bind()
        await ends.await_returned(1)
        assert (ends.returned, ends.dealer.unsent) == ([b"early"], 0)


async def test_a_message_to_an_unknown_peer_is_undeliverable(tmp_path: Path) -> None:
    async with open_ends(tmp_path) as ends:
        ends.router.send(b"nobody", b"frame")
        ends.dealer.send(b"after it")
        await ends.await_returned(1)
        assert ends.undeliverable == [(b"nobody", b"frame")]


@pytest.mark.parametrize("start", [b"", BUNDLE_START])
async def test_large_frames_are_passed_on_as_they_are_without_a_copy(tmp_path: Path, start: bytes) -> None:
    data = bytearray(start + random.randbytes(1_000_000))
    async with open_ends(tmp_path, has_large_frames=True) as ends:
        ends.dealer.send(zmq.Frame(data))
        await ends.await_returned(1)
        assert ends.returned == [data]
        returned: object = ends.returned[0]
        assert isinstance(returned, memoryview)
        assert isinstance(returned.obj, zmq.Frame)


MESSAGE = pack_header(Header(Kind.EVENT))


@pytest.mark.parametrize("reads_bundles", [True, False])
async def test_what_is_sent_at_once_shares_a_frame_if_its_peer_reads_bundles(
    tmp_path: Path, reads_bundles: bool
) -> None:
    wanted = [MESSAGE + b"%d" % number for number in range(1000)]
    with zmq.Context() as context, context.socket(zmq.DEALER) as raw:
        ends = Ends(f"ipc://{tmp_path}/echo.ipc", reads_bundles=lambda identity: reads_bundles)
        ends.bind()
        raw.setsockopt(zmq.ROUTING_ID, b"raw")
        raw.connect(ends.address)
        async with open_background() as nursery:
            nursery.start_soon(ends.dealer.run)
            nursery.start_soon(ends.router.run)
            ends.dealer.sends_bundles = reads_bundles
            for frame in wanted:
                ends.dealer.send(frame)
            raw.send(MESSAGE)
            await ends.await_returned(len(wanted))
            assert ends.returned == wanted
            while await trio.to_thread.run_sync(raw.poll, 10) == 0:
                pass
            raw.recv()
            ends.router.send_all([(b"raw", frame) for frame in wanted])
            frames, count = [], 0
            while count < len(wanted):
                frames.append(await trio.to_thread.run_sync(raw.recv))
                count += len(unbundled(frames[-1])) if frames[-1].startswith(BUNDLE_START) else 1
            assert len(frames) == (2 if reads_bundles else len(wanted))
        ends.close()


async def test_each_message_of_a_bundle_to_a_peer_that_is_gone_is_undeliverable(tmp_path: Path) -> None:
    ends = Ends(f"ipc://{tmp_path}/echo.ipc", reads_bundles=lambda identity: True)
    ends.bind()
    messages = [(b"nobody", MESSAGE + b"%d" % number) for number in range(3)]
    async with open_background() as nursery:
        nursery.start_soon(ends.router.run)
        ends.router.send_all(messages)
        await trio.testing.wait_all_tasks_blocked()
        assert ends.undeliverable == messages
    ends.close()


async def test_a_bundle_that_cannot_be_read_is_passed_on_as_one_message(tmp_path: Path) -> None:
    async with open_ends(tmp_path) as ends:
        ends.dealer.send(BUNDLE_START + b"damaged")
        await ends.await_returned(1)
        assert ends.returned == [BUNDLE_START + b"damaged"]


def test_an_invalid_address_leaves_no_socket_behind() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with pytest.raises(zmq.ZMQError):
        open_dealer(context, "carrier-pigeon", b"x")
    context.term()


def keys_to_a_router() -> ConnectingKeys:
    router, own = zmq.curve_keypair(), zmq.curve_keypair()
    return ConnectingKeys(KeyPair(own[0], own[1]), router[0])


@pytest.mark.parametrize(("keys", "own", "other"), [(None, b"NULL", b"CURVE"), (keys_to_a_router(), b"CURVE", b"NULL")])
async def test_a_router_that_closes_before_it_names_its_mechanism_is_asked_for_it_again(
    keys: ConnectingKeys | None, own: bytes, other: bytes
) -> None:
    """As on a busy machine, where the router reads the client's whole greeting before it writes the end of its own."""
    answered: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(b"\xff" + bytes(8) + b"\x7f\x03")
        received = b""
        while own not in received and (more := await stream.receive_some()):
            received += more
            if received[8:11] == b"\x01\x7f\x03":  # not libzmq, which adds the length of its identity
                await stream.send_all(b"\x01" + other.ljust(20, b"\0") + bytes(32))
        answered.append(received)
        await stream.aclose()

    async with open_background() as nursery, refusing(answer, nursery, keys) as socket:
        assert await await_refusal(socket) == "one side has keys and the other none"
    assert own in answered[0], "libzmq was turned away without a reason"


@pytest.mark.parametrize("greeting", [b"", b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(52, b"\0")])
async def test_a_peer_that_closes_and_names_no_other_mechanism_is_tried_again(greeting: bytes) -> None:
    calls = 0
    tried_again = trio.Event()

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal calls
        calls += 1
        await stream.send_all(greeting)
        await stream.aclose()
        if calls > 5:
            tried_again.set()

    async with open_background() as nursery, refusing(answer, nursery) as socket:
        with trio.move_on_after(60) as waiting:
            nursery.start_soon(cancel_after, tried_again, waiting)
            pytest.fail(f"expected to wait, got the refusal {await await_refusal(socket)!r}")
        assert tried_again.is_set()


async def cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@asynccontextmanager
async def refusing(
    answer: Callable[[trio.SocketStream], Awaitable[None]], nursery: trio.Nursery, keys: ConnectingKeys | None = None
) -> AsyncIterator[zmq.Socket[bytes]]:
    """Serve connections by `answer`, and yield a DEALER that connects to it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    try:
        yield open_dealer(context, f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}", b"x", keys)
    finally:
        nursery.cancel_scope.cancel()
        context.destroy()
