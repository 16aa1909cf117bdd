"""What the actor and its engine child say to each other, over a Unix socket.

A message is four bytes of length, little-endian, and msgpack. Pixels do not travel in it: with a `Finished` goes a file
descriptor of anonymous memory that holds them, so that neither side copies three megabytes through a socket.
"""

from __future__ import annotations

import array
import socket
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

_LENGTH_BYTES: Final = 4
_MAX_DESCRIPTORS: Final = 64
READ_BYTES: Final = 65_536
ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)


class Load(Struct, frozen=True, tag=True):
    """To the engine, first of all: what to draw with."""

    model: str
    """A folder or a hub id."""
    device: str
    """As torch names it, or `next`: the first GPU that no other engine of this host holds."""
    locks: str
    """Folder in which engines lock their GPUs."""
    dtype: str = "auto"
    compile: bool = False
    max_step_tokens: int | None = None
    warm_up: tuple[tuple[int, int], ...] = ()
    """Sizes to draw before the engine is ready, width and height."""


class Draw(Struct, frozen=True, tag=True):
    """To the engine: draw a picture."""

    id: int
    prompt: str
    seed: int
    width_px: int
    height_px: int
    steps: int | None = None
    """None: as the settings or the pipeline have it; likewise `guidance` and `negative_prompt`."""
    guidance: float | None = None
    negative_prompt: str | None = None
    is_alone: bool = False
    """It shares a forward with nobody."""
    interactive: bool = False
    """It goes before those that are not."""


class Withdraw(Struct, frozen=True, tag=True):
    """To the engine: nobody wants the picture any more; dropped at the next step boundary."""

    id: int


class Progress(Struct, frozen=True, tag=True):
    """To the actor, while the engine gets ready: what it is doing."""

    note: str


class Found(Struct, frozen=True, tag=True):
    """To the actor, once torch is there: how many GPUs this host has."""

    gpus: int


class Ready(Struct, frozen=True, tag=True):
    """To the actor: pictures can be asked for."""

    pipeline: str
    device: str
    capacity: int
    """How many requests it should be given at once."""
    load_s: float


class Broken(Struct, frozen=True, tag=True):
    """To the actor: the settings cannot be met here, and the engine ends; says what was expected and what was found."""

    reason: str


class Fault(Struct, frozen=True, tag=True):
    """To the actor: the engine ends because of an error that no request can be blamed for; the last it says."""

    reason: str


class Begun(Struct, frozen=True, tag=True):
    """To the actor, before each forward: who is in it, so that it is known who was if the engine dies in it."""

    ids: tuple[int, ...]


class Finished(Struct, frozen=True, tag=True):
    """To the actor, with a descriptor of the pixels (height, width, 3), uint8: a picture is drawn."""

    id: int
    width_px: int
    height_px: int
    seconds: dict[str, float]
    """`wait`, `text`, `denoise` and `decode`."""
    batch: float
    """Requests in its forwards, itself counted, on average."""


class Unfinished(Struct, frozen=True, tag=True):
    """To the actor: a picture cannot be drawn."""

    id: int
    reason: str
    is_final: bool


class Totals(Struct, frozen=True, tag=True):
    """To the actor, now and then: what the engine has done since it was ready."""

    wall_s: float = 0.0
    busy_s: float = 0.0
    """In which the device had work."""
    forwards: int = 0
    forward_s: float = 0.0
    rows: int = 0
    tokens: int = 0
    """In all forwards, padding counted."""
    images: int = 0
    text_s: float = 0.0
    decode_s: float = 0.0
    splits: int = 0
    """Groups that did not fit into memory."""
    waiting: int = 0
    """Requests that have not taken a step yet, now; likewise `running`."""
    running: int = 0
    max_step_tokens: int = 0
    memory_bytes: int = 0
    """Of the device, at most so far."""


Command = Load | Draw | Withdraw
Report = Progress | Found | Ready | Broken | Fault | Begun | Finished | Unfinished | Totals

encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_report = msgspec.msgpack.Decoder(Report).decode


def frame(message: Command | Report) -> bytes:
    """Return a message as it goes over the socket."""
    body = encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


class Inbox:
    """Puts together what the socket hands over in pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.descriptors: deque[int] = deque()
        """That came with the messages, in their order; to be closed by whoever takes them."""

    def put(self, data: bytes, ancillary: list[tuple[int, int, bytes]] | None = None) -> None:
        """Add what one `recvmsg` returned."""
        self._data += data
        for level, kind, payload in ancillary or ():
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self.descriptors.extend(numbers)

    def bodies(self) -> Iterator[bytes]:
        """Return the messages that are whole."""
        while len(self._data) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._data[:_LENGTH_BYTES], "little")
            if len(self._data) < end:
                return
            body = bytes(self._data[_LENGTH_BYTES:end])
            del self._data[:end]
            yield body
