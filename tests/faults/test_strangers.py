"""Clients that connect to a router over tcp without a key, or that ask for more than their key allows.

One router process serves all tests, and a mesh works on it before and after each: a stranger costs nobody else
anything, and receives the handshake and nothing more.
"""

from __future__ import annotations

import resource
import socket as network
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import zmq

from gems_actors.actor import serve_actor
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, SecurityConfig
from gems_actors.errors import ForbiddenError, MeshRefusedError, MeshUnavailableError
from gems_actors.security.keys import add_key, keys_to_connect, make_mesh_keys
from gems_actors.tasks import open_background
from gems_actors.transport.sockets import open_dealer
from protocol.codec import decode_message, encode_message
from protocol.envelope import Header, Kind
from protocol.messages import (
    AppendRecord,
    Body,
    DrawPicture,
    Failure,
    Hello,
    MeshStatus,
    Plan,
    PlanPrompt,
    ReadStatus,
    Reply,
    Request,
    RunBegun,
    StopMesh,
    Welcome,
)
from tests.gems_actors.meshes import Echo, play
from tests.processes import environment, started

pytestmark = pytest.mark.slow

SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01"
"""The first bytes of ZMTP 3.1."""
GREETING = SIGNATURE + b"CURVE".ljust(20, b"\0") + bytes(32)
"""The greeting of both sides when the router has keys."""
WELCOME_BYTES = 2 + 168
"""Size of CURVE's answer to a HELLO, in a command frame: equal for every client, and random without the key."""
HALF_OPEN = 10_000
_QUIET_S = 0.3
"""Silence after which the router is taken to have nothing more to send, in seconds."""

_ROUTER = """
import sys
from gems_actors.config import load_config
from gems_actors.supervision.child_main import run_role
config = load_config(environment={}, settings=sys.argv[1:])
sys.exit(run_role("router", config, config.router_addresses[0], "router-1"))
"""


@dataclass(frozen=True)
class CurveSocket:
    """A router with keys."""

    address: str
    folder: Path
    """Folder of the keys."""

    @property
    def log(self) -> Path:
        return self.folder.parent / "log"

    @property
    def endpoint(self) -> tuple[str, int]:
        host, _, port = self.address.removeprefix("tcp://").partition(":")
        return host, int(port)

    def security(self, name: str) -> SecurityConfig:
        return SecurityConfig(key=str(self.folder / f"{name}.key"), router_key=str(self.folder / "router.pub"))


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CurveSocket]:
    folder = tmp_path_factory.mktemp("guarded")
    keys = folder / "keys"
    make_mesh_keys(keys)
    add_key(keys, "verifier", ["verifier"])
    add_key(keys, "planner", ["planner"])
    add_key(keys, "conductor", ["conductor"])
    with network.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "router.runtime_dir": folder,
        "router.address": address,
        "security.key": keys / "router.key",
        "security.allowed": keys / "allowed.toml",
    }
    guarded = CurveSocket(address, keys)
    with (
        guarded.log.open("w") as log,
        started(
            [sys.executable, "-P", "-c", _ROUTER, *(f"{key}={value}" for key, value in settings.items())],
            env=environment(),
            stderr=log,
        ) as process,
    ):
        play(await_work, guarded)
        yield guarded
        assert process.poll() is None, guarded.log.read_text()
        process.terminate()
        assert process.wait(60) == 0
    assert "Traceback" not in guarded.log.read_text()


async def await_work(router: CurveSocket) -> None:
    """Check that an actor and a client, each with its key, can work."""
    async with open_working_mesh(router) as mesh:
        assert await mesh.ask(PlanPrompt(prompt="hello")) == Plan(prompt="hello!")


@asynccontextmanager
async def open_working_mesh(router: CurveSocket) -> AsyncIterator[Mesh]:
    """Start a planner, and yield a client that may ask it."""
    async with open_background() as nursery:
        serve = partial(serve_actor, security=router.security("planner"))
        nursery.start_soon(serve, partial(Echo, MeshConfig()), router.address, "planner-1")
        async with open_client(router.address, security=router.security("conductor")) as mesh:
            yield mesh


@pytest.fixture(autouse=True)
def mesh_goes_on(router: CurveSocket) -> Iterator[None]:
    yield
    play(await_work, router)


@contextmanager
def dealer(router: CurveSocket, key: str, identity: bytes) -> Iterator[zmq.Socket[bytes]]:
    """Yield a socket that connects with a key."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    keys = keys_to_connect(router.security(key), router.address)
    try:
        yield open_dealer(context, router.address, identity, keys)
    finally:
        context.destroy(linger=0)


def say(socket: zmq.Socket[bytes], header: Header, body: Body) -> None:
    assert socket.poll(60_000, zmq.POLLOUT), "no connection"
    socket.send(encode_message(header, body))


def hear(socket: zmq.Socket[bytes], kind: type[Body]) -> Body:
    """Return the next message of this kind."""
    while socket.poll(60_000):
        _, body = decode_message(socket.recv())
        if isinstance(body, kind):
            return body
    raise AssertionError(f"expected a {kind.__name__}, got nothing")


async def ask_for(seconds: float, mesh: Mesh) -> None:
    with trio.move_on_after(seconds):
        while True:
            await mesh.ask(ReadStatus())
            await trio.sleep(0.1)


def talk(router: CurveSocket, *turns: tuple[bytes, int]) -> bytes:
    """Send each text on a bare connection, read the given number of bytes after each, and return all that was read."""
    heard = b""
    with network.create_connection(router.endpoint, timeout=10) as stranger, suppress(OSError):
        for said, count in turns:
            stranger.sendall(said)
            wanted = len(heard) + count
            while len(heard) < wanted and (more := stranger.recv(4096)):
                heard += more
        stranger.settimeout(_QUIET_S)
        while more := stranger.recv(4096):
            heard += more
    return heard


class Recorder:
    """A relay in front of a router that keeps what the one client behind it sent."""

    def __init__(self, router: CurveSocket) -> None:
        self.heard = b""
        self._server = network.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._router = router
        self._thread = threading.Thread(target=self._relay)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._server.close()

    def _relay(self) -> None:
        client, _ = self._server.accept()
        with client, network.create_connection(self._router.endpoint) as router:
            back = threading.Thread(target=self._copy, args=(router, client, lambda _: None))
            back.start()
            self._copy(client, router, self._keep)
            router.shutdown(network.SHUT_RDWR)
            back.join()

    def _keep(self, data: bytes) -> None:
        self.heard += data

    @staticmethod
    def _copy(source: network.socket, target: network.socket, note: Callable[[bytes], None]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                note(data)
                target.sendall(data)


async def test_a_client_without_a_key_is_refused_with_the_reason(router: CurveSocket) -> None:
    with pytest.raises(MeshRefusedError, match="refused by the router: one side has keys and the other none"):
        async with open_client(router.address):
            pass


async def test_a_client_with_an_unknown_key_is_refused_with_the_reason(router: CurveSocket, tmp_path: Path) -> None:
    make_mesh_keys(tmp_path / "other")
    stranger = SecurityConfig(
        key=str(tmp_path / "other" / "client.key"), router_key=router.security("client").router_key
    )

    with pytest.raises(MeshRefusedError, match="refused by the router: it does not admit this key"):
        async with open_client(router.address, security=stranger):
            pass


async def test_a_router_with_an_unexpected_key_is_not_trusted(router: CurveSocket, tmp_path: Path) -> None:
    make_mesh_keys(tmp_path / "other")
    deceived = SecurityConfig(key=router.security("client").key, router_key=str(tmp_path / "other" / "router.pub"))

    with pytest.raises(MeshUnavailableError, match=r"expected a router with the key of .*router\.pub, but none"):
        async with open_client(router.address, connect_within_s=2, security=deceived):
            pass


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: mesh\r\n\r\n",
        bytes(range(256)) * 64,
        GREETING[:10],
        GREETING + bytes(range(256)) * 64,
        GREETING + b"\x04\xc8\x05HELLO" + bytes(194),
        GREETING + b"\x06" + b"\xff" * 8 + b"\x05HELLO",
        SIGNATURE + b"NULL".ljust(20, b"\0") + bytes(32) + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x06DEALER",
    ],
    ids=[
        "nothing",
        "http",
        "garbage",
        "half a greeting",
        "greeting, garbage",
        "hello of zeros",
        "endless hello",
        "null",
    ],
)
def test_a_peer_that_sends_garbage_receives_the_greeting_and_nothing_more(router: CurveSocket, said: bytes) -> None:
    heard = talk(router, (b"", 10), (said, 0))
    assert heard.startswith(SIGNATURE[:10])
    assert GREETING.startswith(heard)


async def test_a_replayed_conversation_receives_nothing_beyond_the_handshake(router: CurveSocket) -> None:
    security = router.security("client")

    with Recorder(router) as recorder:
        async with open_client(recorder.address, security=security) as mesh:
            assert await mesh.ask(ReadStatus())
    conversation = recorder.heard
    assert b"HELLO" in conversation
    assert b"INITIATE" in conversation
    assert b"ReadStatus" not in conversation, "what was asked is secret"
    hello, rest = conversation[: 64 + 202], conversation[64 + 202 :]
    assert hello[66:72] == b"\x05HELLO"
    for turns in (((hello, 64 + WELCOME_BYTES),), ((hello, 64 + WELCOME_BYTES), (rest, 0))):
        heard = talk(router, *turns)
        assert heard[:64] == GREETING
        assert heard[64:74] == b"\x04\xa8\x07WELCOME"
        assert len(heard) == 64 + WELCOME_BYTES


async def test_ten_thousand_half_open_connections_do_not_stop_the_mesh(router: CurveSocket) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(HALF_OPEN, hard - 1_000)  # each takes a file here and one in the router

    try:
        async with open_working_mesh(router) as mesh:
            assert await mesh.ask(PlanPrompt(prompt="before")) == Plan(prompt="before!")
            with ExitStack() as crowd:
                for number in range(count):
                    crowd.enter_context(network.create_connection(router.endpoint, timeout=10)).setblocking(False)
                    if number % 500 == 0:
                        assert await mesh.ask(PlanPrompt(prompt=f"{number}")) == Plan(prompt=f"{number}!")
                assert await mesh.ask(PlanPrompt(prompt="among them")) == Plan(prompt="among them!")
                async with open_client(router.address, security=router.security("client")) as newcomer:
                    assert await newcomer.ask(ReadStatus())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_client_that_claims_to_be_a_verifier_is_refused(router: CurveSocket) -> None:
    class Impostor(Echo):
        role = "verifier"

    with pytest.raises(MeshRefusedError, match=r"key that allows HELLO as verifier, got that of client \(client\)"):
        await serve_actor(partial(Impostor, MeshConfig()), router.address, "v", security=router.security("client"))
    async with open_client(router.address, security=router.security("client")) as mesh:
        assert "verifier" not in {role.role for role in (await mesh.ask(ReadStatus())).roles}


@pytest.mark.parametrize(
    ("key", "request_"),
    [
        ("verifier", AppendRecord(record=RunBegun(run="mine"))),
        ("verifier", ReadStatus()),
        ("planner", AppendRecord(record=RunBegun(run="mine"))),
        ("conductor", DrawPicture(run="mine", prompt="a dog", seed=7)),
        ("client", PlanPrompt(prompt="a dog")),
        ("client", StopMesh()),
        ("agent", StopMesh()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_request_that_a_key_does_not_allow_is_refused(
    router: CurveSocket, key: str, request_: Request[Reply]
) -> None:
    async with open_client(router.address, security=router.security(key)) as mesh:
        with pytest.raises(ForbiddenError, match=f"got that of {key} "):
            await mesh.ask(request_)


async def test_an_answer_from_another_role_is_not_accepted(router: CurveSocket) -> None:
    async with (
        open_client(router.address, security=router.security("conductor")) as mesh,
        open_background() as nursery,
    ):
        nursery.start_soon(mesh.ask, PlanPrompt(prompt="hello"))
        await trio.testing.wait_all_tasks_blocked()
        (id_,) = mesh.requests_in_flight
        with dealer(router, "verifier", b"forger") as forger:
            for role in ("planner", "verifier"):
                header = Header(Kind.REPLY, id_, role, attempt=1)
                await trio.to_thread.run_sync(say, forger, header, Plan(prompt="forged"))
            failure = await trio.to_thread.run_sync(hear, forger, Failure)
        assert isinstance(failure, Failure)
        assert failure.code == "forbidden"
        assert mesh.requests_in_flight == (id_,)


def test_a_stolen_identity_neither_receives_nor_sends_for_its_owner(router: CurveSocket) -> None:
    identity = b"conductor-1.12345678"
    question = Header(Kind.REQUEST, b"a" * 16, "router")
    with dealer(router, "conductor", identity) as owner:
        say(owner, Header(Kind.HELLO), Hello(name="owner"))
        hear(owner, Welcome)
        with dealer(router, "client", identity) as thief:
            say(thief, question, ReadStatus())
            assert not thief.poll(500)
    with dealer(router, "conductor", identity) as owner:
        say(owner, Header(Kind.HELLO), Hello(name="owner"))
        hear(owner, Welcome)
    with dealer(router, "client", b"client-1.12345678") as honest:
        say(honest, Header(Kind.HELLO), Hello(name="honest"))
        say(honest, question, ReadStatus())
        status = hear(honest, MeshStatus)
        assert isinstance(status, MeshStatus)


async def test_a_removed_key_is_cut_off_and_admitted_again_once_it_is_back(router: CurveSocket) -> None:
    allow_list = router.folder / "allowed.toml"
    whole = allow_list.read_text()
    head, _, tail = whole.partition("[client]\n")
    without = head + tail[tail.index("[admin]") :]

    try:
        async with open_client(router.address, security=router.security("client")) as mesh:
            assert await mesh.ask(ReadStatus())
            allow_list.write_text(without)
            with pytest.raises(ForbiddenError, match="one that was removed from it"):
                await ask_for(60.0, mesh)
            with pytest.raises(MeshRefusedError, match="does not admit this key"):
                async with open_client(router.address, security=router.security("client")):
                    pass
            allow_list.write_text("[client]\nkey =")
            with trio.fail_after(60):
                while "allow_list_unusable" not in router.log.read_text():  # noqa: ASYNC110 - another process says it
                    await trio.sleep(0.1)
            async with open_client(router.address, security=router.security("admin")) as other:
                assert await other.ask(ReadStatus()), "a list that cannot be read changes nothing"
            allow_list.write_text(whole)
            with trio.fail_after(60):
                while True:
                    with suppress(ForbiddenError):
                        assert await mesh.ask(ReadStatus())
                        break
                    await trio.sleep(0.1)
    finally:
        allow_list.write_text(whole)
