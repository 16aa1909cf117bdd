"""Peers that break the rules of ZMTP or do not read cost a bound of memory, and honest peers beside them nothing."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice, repeat
from pathlib import Path

import pytest
import trio

from protocol.blobs import BlobHeader, BlobKind, pack_blob
from protocol.codec import encode_message
from protocol.envelope import Header, Kind
from protocol.messages import Hello, ReadStatus
from tests.faults.servers import MIB, Server, honest_pictures, honest_work, server_process
from tests.gems_actors.blobs.pictures import ref_of
from tests.zmtp import COMMAND, MORE, RawPeer, connect, frame, greeting, metadata

pytestmark = pytest.mark.slow

MAX_BYTES = 200 * MIB
"""What no server may exceed, whatever its peers do."""
FLOOD_BYTES = 1024 * MIB
"""What an attack sends if nobody stops it."""


@pytest.fixture(params=["ipc", "tcp", "curve"])
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with server_process("router", request.param, tmp_path) as server:
        yield server


@pytest.fixture(params=["ipc", "tcp", "curve"])
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with server_process("blobs", request.param, tmp_path) as server:
        yield server


async def await_small(server: Server) -> None:
    """Wait until a server has no more memory than it may. How much floods take until then depends on the machine."""
    with trio.fail_after(90):
        while server.resident_bytes() > MAX_BYTES:  # noqa: ASYNC110 - another process gives it back
            await trio.sleep(0.05)


def pump(peer: RawPeer, parts: Iterator[bytes]) -> None:
    """Send until the other side cuts the connection, and fail if it takes everything."""
    sent = 0
    try:
        for part in parts:
            peer.socket.sendall(part)
            sent += len(part)
    except TimeoutError:
        raise AssertionError(
            f"expected the connection to be cut, got one that is not read after {sent} bytes"
        ) from None
    except OSError:
        return
    assert peer.is_cut(), f"expected the connection to be cut, got one that took {sent} bytes"


def endless_parts(server: Server) -> None:
    with RawPeer(server.address, b"endless", server.connecting("conductor")) as peer:
        pump(peer, (peer.encode(bytes(MIB), MORE) for _ in range(FLOOD_BYTES // MIB)))


def endless_empty_parts(server: Server) -> None:
    with RawPeer(server.address, b"empty", server.connecting("conductor")) as peer:
        block = b"" if server.keys else peer.encode(b"", MORE) * 32_768
        blocks = FLOOD_BYTES // 64 // 32_768  # each part takes 64 bytes
        pump(peer, (block or b"".join(peer.encode(b"", MORE) for _ in range(32_768)) for _ in range(blocks)))


def stalled_parts(server: Server) -> None:
    """Begin a large part on each of many connections, and never send its end."""
    keys, part = server.connecting("conductor"), bytes(4 * MIB)
    with ExitStack() as crowd:
        peers = [crowd.enter_context(RawPeer(server.address, b"%d" % number, keys)) for number in range(100)]
        for peer in peers:
            with suppress(OSError):  # cut while it sends
                peer.socket.sendall(peer.encode(part)[:-1])
        assert sum(peer.is_cut(0.5) for peer in peers[:60]) > 40, "all but what is allowed anybody"


def huge_identity(server: Server) -> None:
    with RawPeer(server.address, bytes(4 * MIB), server.connecting("conductor")) as peer:
        pump(peer, (peer.encode(bytes(100)) for _ in range(100_000)))


def many_parts(server: Server) -> None:
    with RawPeer(server.address, b"many", server.connecting("conductor")) as peer:
        message = b"".join([*(peer.encode(b"", MORE) for _ in range(1000)), peer.encode(b"")])
        pump(peer, repeat(message, 1) if server.keys else islice(repeat(message), 10_000))


def endless_handshake(server: Server) -> None:
    """Send properties without end in place of a handshake."""
    with ExitStack() as crowd:
        for _ in range(40):
            stranger = crowd.enter_context(connect(server.address))
            stranger.settimeout(30)
            with suppress(OSError):
                stranger.sendall(greeting(b"CURVE" if server.keys else b"NULL"))
                stranger.sendall(frame(b"\x05READY" + metadata(bytes(6 * MIB)), COMMAND)[:-1])


def commands(server: Server) -> None:
    with RawPeer(server.address, b"commands", None) as peer, suppress(OSError):
        for command in (b"\x04PING\0\0", b"\x09SUBSCRIBE" + bytes(5000), b"\x05BREAK" + bytes(MIB), b"\x05ERROR\x00"):
            block = frame(command, COMMAND)
            for _ in range(8 * MIB // max(len(block), 64 * 256)):
                peer.socket.sendall(block * max(1, 16_384 // len(block)))


@pytest.mark.parametrize(
    "attack",
    [endless_parts, endless_empty_parts, stalled_parts, huge_identity, many_parts, endless_handshake, commands],
    ids=lambda attack: attack.__name__,
)
async def test_a_router_cuts_off_peers_that_make_it_grow(router: Server, attack: Callable[[Server], None]) -> None:
    if attack is commands and router.keys:
        pytest.skip("a command that is not encrypted ends a connection with keys")
    if attack is endless_empty_parts and router.keys:
        pytest.skip("as without keys; to encrypt enough of them takes us 20 s")
    async with honest_work(router):
        await trio.to_thread.run_sync(attack, router)
    await await_small(router)
    assert attack is stalled_parts or router.peak_bytes() < MAX_BYTES


async def test_a_crowd_of_silent_connections_leaves_room_for_honest_peers(router: Server) -> None:
    """They shake hands and say nothing, until the router may open few more files."""
    limit = 400
    resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    with ExitStack() as crowd:

        def come(count: int) -> None:
            for number in range(count):
                identity, keys = f"{count} {number}".encode(), router.connecting("conductor")
                crowd.enter_context(RawPeer(router.address, identity, keys))

        await trio.to_thread.run_sync(come, int(0.85 * limit))
        with trio.fail_after(60):
            while "connection_cut" not in router.log.read_text():  # noqa: ASYNC110 - another process says it
                await trio.sleep(0.05)
        await trio.to_thread.run_sync(come, int(0.5 * limit))
        async with honest_work(router):
            assert router.process.poll() is None


async def test_connections_that_share_an_identity_and_end_do_not_end_the_router(router: Server) -> None:
    """libzmq sends heartbeats on a connection whose place another has taken, and aborts if it has ended by then."""
    keys = router.connecting("conductor")
    async with honest_work(router):
        with RawPeer(router.address, b"same", keys) as first, RawPeer(router.address, b"same", keys):
            for _ in range(3):
                first.send(bytes(100))
                await trio.sleep(0.05)
        await trio.sleep(2.5)  # libzmq sends heartbeats each two seconds, and nothing shows when
    assert router.process.poll() is None


@pytest.mark.parametrize("router", ["tcp", "curve"], indirect=True)
async def test_a_router_cuts_off_a_peer_that_does_not_read_its_answers(router: Server) -> None:
    def ask_without_reading() -> None:
        header = Header(Kind.REQUEST, b"a" * 16, "router")
        with RawPeer(router.address, b"deaf", router.connecting("conductor")) as peer:
            peer.send(encode_message(Header(Kind.HELLO), Hello(name="deaf")))
            question = peer.encode(encode_message(header, ReadStatus()))
            block = question * 64 if router.keys is None else b""
            pump(peer, (block or peer.encode(encode_message(header, ReadStatus())) for _ in range(2**40)))

    async with honest_work(router):
        with trio.fail_after(60):
            await trio.to_thread.run_sync(ask_without_reading)
    await await_small(router)


LARGE = bytes(range(256)) * (30 * MIB // 256)


DIGEST = ref_of(LARGE).digest.removeprefix("sha256:")
FLOODS: dict[str, tuple[BlobKind, int, int, str]] = {
    "gets": (BlobKind.GET, 80, 0, DIGEST),
    "gets with bytes": (BlobKind.GET, 300, MIB, DIGEST),
    "questions": (BlobKind.HAS, 300, 0, DIGEST),
    "checks": (BlobKind.ARE_YOU_AT_IT, 50_000, 0, DIGEST),
    "puts": (BlobKind.PUT, 30, len(LARGE), DIGEST),
    "wrong puts": (BlobKind.PUT, 30, len(LARGE), "0" * 64),
}
"""What a peer sends that does not read: kind, number and bytes of requests about a picture."""


def flood(kind: BlobKind, count: int, size_bytes: int, digest: str) -> Iterator[bytes]:
    """Yield requests about a large picture."""
    for number in range(count):
        yield pack_blob(BlobHeader(kind, number, len(LARGE), bytes.fromhex(digest)), LARGE[:size_bytes])


@pytest.mark.parametrize("name", FLOODS)
async def test_a_picture_server_lets_peers_that_do_not_read_wait_for_themselves(tmp_path: Path, name: str) -> None:
    with server_process("blobs", "ipc", tmp_path) as pictures:
        store = tmp_path / "data" / "blobs" / "sha256"
        async with honest_pictures(pictures, tmp_path) as took_s:
            with RawPeer(f"{pictures.address}.blobs", b"first") as peer:
                await trio.to_thread.run_sync(peer.send, next(flood(BlobKind.PUT, 1, len(LARGE), DIGEST)))
                while not list(store.glob(f"??/??/{DIGEST}")):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            with RawPeer(f"{pictures.address}.blobs", b"deaf") as deaf:

                def send_all() -> None:
                    with suppress(OSError):  # it may be cut
                        for one in flood(*FLOODS[name]):
                            deaf.send(one)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.to_thread.run_sync, send_all)
                    seen = len(took_s)
                    while len(took_s) < seen + 20:  # noqa: ASYNC110 - another task counts
                        await trio.sleep(0.01)
        await await_small(pictures)
        assert "puts" in name or pictures.peak_bytes() < 300 * MIB


@pytest.mark.parametrize("attack", [endless_parts, endless_empty_parts, huge_identity], ids=lambda one: one.__name__)
async def test_a_picture_server_cuts_off_peers_that_make_it_grow(
    pictures: Server, tmp_path: Path, attack: Callable[[Server], None]
) -> None:
    if attack is endless_empty_parts and pictures.keys:
        pytest.skip("as without keys; to encrypt enough of them takes us 6 s of CPU")
    async with honest_pictures(pictures, tmp_path):
        await trio.to_thread.run_sync(attack, pictures.beside)
    assert pictures.peak_bytes() < MAX_BYTES
