"""Gateways in the process of a test, in front of a mesh that draws or of a conductor that the test directs."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import h11
import httpx
import msgspec
import trio
from openai import OpenAI
from PIL import Image

from actors.memory import Memory
from gems_actors.actor import Actor, answers
from gems_actors.blobs import BlobFolder
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig, load_config
from gems_actors.errors import RequestError
from gems_actors.gateway.actor import Gateway
from gems_actors.gateway.jobs import webhooks
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.testing import open_test_mesh
from protocol.messages import (
    Attempt,
    AttemptVerified,
    DrawPicture,
    Ending,
    Picture,
    ReadStatus,
    Requirement,
    Spent,
    StepTaken,
    Verdict,
)
from tests.actors.fakes import png

ResultT = TypeVar("ResultT")

PROMPT = "two red cats to the left of a stone dog"
REQUIREMENT = Requirement(id="r1", question="Are there two cats?", kind="count")


class Lines:
    """The lines of an answer; leaving the block that opened it disconnects."""

    def __init__(self, stream: trio.SocketStream, connection: h11.Connection) -> None:
        self._stream, self._connection = stream, connection
        self._text = b""
        self.status = 0
        self.headers: dict[str, str] = {}

    async def next(self, beginning: str = "") -> str:
        """Return the next line that is not empty and begins so, or an empty text at the end of the answer."""
        while True:
            line, found, rest = self._text.partition(b"\n")
            if found:
                self._text = rest
                if line and line.startswith(beginning.encode()):
                    return line.decode()
                continue
            match self._connection.next_event():
                case h11.NEED_DATA:
                    self._connection.receive_data(await self._stream.receive_some(65536))
                case h11.Response() as head:
                    self.status = head.status_code
                    self.headers = {name.decode(): value.decode() for name, value in head.headers}
                case h11.Data() as part:
                    self._text += bytes(part.data)
                case h11.EndOfMessage():
                    self._text += b"\n" if self._text else b""
                    if not self._text:
                        return ""

    async def all(self, beginning: str = "") -> list[str]:
        """Return the other lines that begin so."""
        found = []
        while line := await self.next(beginning):
            found.append(line)
        return found


@dataclass
class Door:
    """A gateway that serves, and its mesh."""

    port: int
    mesh: Mesh
    config: MeshConfig
    _sdks: list[OpenAI] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def openai(self, **options: Any) -> OpenAI:
        """Return the real SDK, which repeats nothing unless told to."""
        self._sdks.append(OpenAI(base_url=f"{self.url}/v1", **{"api_key": "none", "max_retries": 0, **options}))
        return self._sdks[-1]

    @asynccontextmanager
    async def lines(self, method: str, path: str, json: Any = None, **headers: str) -> AsyncIterator[Lines]:
        """Send a request, and yield the lines of its answer as they arrive."""
        body = b"" if json is None else msgspec.json.encode(json)
        given = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body)), **headers}
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            connection = h11.Connection(h11.CLIENT)
            for event in (h11.Request(method=method, target=path, headers=list(given.items())), h11.Data(data=body)):
                await stream.send_all(connection.send(event) or b"")
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
            yield Lines(stream, connection)

    def close(self) -> None:
        """Close the connections of the SDKs."""
        for sdk in self._sdks:
            sdk.close()

    @asynccontextmanager
    async def http(self, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Open a client of plain HTTP."""
        async with httpx.AsyncClient(base_url=self.url, timeout=60.0, **options) as client:
            yield client

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """Send one request."""
        async with self.http() as client:
            return await client.post(path, json=json, **options)


@dataclass
class Painter:
    """Directs the conductor of a test."""

    blobs: BlobFolder
    begun: list[DrawPicture] = field(default_factory=list)
    withdrawn: int = 0
    rounds: int = 1
    failure: RequestError | None = None
    refused: dict[str, RequestError] = field(default_factory=dict)
    """Failures by prompt."""
    held_prompts: set[str] | None = None
    """Prompts that `hold` is about; by default all."""
    late_failure: RequestError | None = None
    """Raised after the rounds."""
    is_noisy: bool = False
    """Whether pictures are noise, which no format makes smaller."""
    hold: trio.Event | None = None
    """If set, no picture is finished before this event."""
    _changed: trio.Event = field(default_factory=trio.Event)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return once something is true of what was begun and withdrawn."""
        while not is_so():
            await self._changed.wait()

    async def paint(self, conductor: Actor, request: DrawPicture) -> Picture:
        self.begun.append(request)
        self._note()
        try:
            if (failure := self.refused.get(request.prompt, self.failure)) is not None:
                raise failure
            attempts = []
            for round_ in range(1, self.rounds + 1):
                attempts.append(await self._paint_round(request, round_))
                record = AttemptVerified(trajectory=request.trajectory, attempt=attempts[-1])
                conductor.mesh.publish(StepTaken(record=record))
            if self.hold is not None and (self.held_prompts is None or request.prompt in self.held_prompts):
                await self.hold.wait()
            if self.late_failure is not None:
                await trio.sleep(0.2)  # events and answers take different ways
                raise self.late_failure
        except trio.Cancelled:
            self.withdrawn += 1
            self._note()
            raise
        ending = Ending(outcome="all_met", best_round=self.rounds, best_candidate=1, decided_by="the last one")
        return Picture(
            trajectory=request.trajectory, prompt=request.prompt, skill=None, requirements=(REQUIREMENT,),
            attempts=tuple(attempts), ending=ending, settings=request.settings,
            spent={"planner": Spent(calls=1, prompt_tokens=30, completion_tokens=4)},
        )  # fmt: skip

    async def _paint_round(self, request: DrawPicture, round_: int) -> Attempt:
        size = request.settings.width_px, request.settings.height_px
        data = noise(*size) if self.is_noisy else png(*size, f"#{(request.seed + round_) % 2**24:06x}")
        image = await self.blobs.put(data, media_type="image/png", width_px=size[0], height_px=size[1])
        return Attempt(
            round=round_, candidate=1, prompt=f"{request.prompt}, round {round_}", image=image, seed=request.seed,
            verdicts=(Verdict(requirement="r1", answer="met" if round_ == self.rounds else "unmet"),),
        )  # fmt: skip

    def _note(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def open_painted_door(
    folder: Path, *settings: str, webhook_delays_s: Sequence[float] = webhooks.DELAYS_S
) -> AsyncIterator[tuple[Door, Painter]]:
    """Start a gateway whose pictures a `Painter` makes; memory is the real one."""
    config = load_config(None, {}, [f"data_dir={folder}/data", *settings])
    painter = Painter(BlobFolder(folder / "data" / "blobs"))

    class Conductor(Actor):
        role = "conductor"
        default_capacity = 64
        directed: ClassVar[Painter] = painter

        @answers
        async def draw(self, request: DrawPicture) -> Picture:
            return await self.directed.paint(self, request)

    async with open_door(config, Memory, Conductor, webhook_delays_s=webhook_delays_s) as door:
        yield door, painter


@asynccontextmanager
async def open_drawing_door(folder: Path, *settings: str) -> AsyncIterator[Door]:
    """Start a gateway in front of every built-in role, which draws small storyboards."""
    small = ("draw.width_px=96", "draw.height_px=96")
    config = load_config(None, {}, [f"data_dir={folder}/data", *small, *settings])
    classes = [spec.actor.partition(":") for spec in BUILT_IN_ROLES.values()]
    async with open_door(config, *(getattr(import_module(module), name) for module, _, name in classes)) as door:
        yield door


@asynccontextmanager
async def open_door(
    config: MeshConfig, *roles: type[Actor], webhook_delays_s: Sequence[float] = webhooks.DELAYS_S
) -> AsyncIterator[Door]:
    """Start roles and a gateway, and yield it once it serves."""
    gateways: list[Gateway] = []

    class Watched(Gateway):
        def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
            super().__init__(config, mesh, webhook_delays_s=webhook_delays_s)
            gateways.append(self)

    async with open_test_mesh(*roles, Watched, config=config) as mesh, mesh.events("mesh") as events:
        while not await _is_ready(mesh):
            await events.receive()
        with closing(Door(gateways[0].port, mesh, config)) as door:
            yield door


def noise(width_px: int, height_px: int) -> bytes:
    """Return a PNG file that is about as large as its pixels."""
    buffer = io.BytesIO()
    Image.effect_noise((width_px, height_px), 100.0).save(buffer, "PNG")
    return buffer.getvalue()


async def _is_ready(mesh: Mesh) -> bool:
    roles = (await mesh.ask(ReadStatus())).roles
    return all(actor.capacity for role in roles for actor in role.actors)


class Events:
    """The events of a job, as they arrive."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.id = ""
        """Id of the last one."""

    async def next(self, wanted: str = "") -> tuple[str, Any]:
        """Return the next event whose name begins so, and its data; empty at the end of the stream."""
        while line := await self._lines.next():
            if line.startswith("id: "):
                self.id = line.removeprefix("id: ")
            elif line.startswith("event: "):
                name = line.removeprefix("event: ")
                data = json.loads((await self._lines.next("data: ")).removeprefix("data: "))
                if name.startswith(wanted):
                    return name, data
        return "", None


async def in_thread(function: Callable[..., ResultT], *arguments: Any, **options: Any) -> ResultT:
    """Return what a blocking call of the SDK returns; a test that is cancelled does not wait for it."""
    return await trio.to_thread.run_sync(partial(function, *arguments, **options), abandon_on_cancel=True)


def free_port() -> int:
    """Return a port at which nobody listens."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
