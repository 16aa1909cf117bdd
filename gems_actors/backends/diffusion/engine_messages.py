"""Messages between the actor and its engine process, over a Unix socket.

A message is four bytes of length, little-endian, and msgpack. Pixels are not in it: a `Finished`, and a `Draw` with
references, carry a file descriptor of anonymous memory that holds them, so that megabytes are not copied through a
socket.
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
    """To the engine, as its first message: which pipeline to load, and how."""

    model: str
    """Folder or hub id of the pipeline."""
    device: str
    """Torch device name, or `next` for the first GPU that no other engine of this host holds."""
    locks: str
    """Folder in which engines lock their GPUs."""
    dtype: str = "auto"
    compile: bool = False
    denoising_cache: float | None = None
    quantization: str = "none"
    max_step_tokens: int | None = None
    warm_up: tuple[tuple[int, int], ...] = ()
    """Sizes, as width and height, to draw before the engine is ready."""


class Raster(Struct, frozen=True):
    """Size of a decoded picture: 8 bits of red, green and blue, and of alpha where `channels` is 4."""

    width_px: int
    height_px: int
    channels: int = 3

    @property
    def size_bytes(self) -> int:
        """Size of its pixels."""
        return self.width_px * self.height_px * self.channels


class Draw(Struct, frozen=True, tag=True):
    """To the engine: draw a picture."""

    id: int
    prompt: str
    seed: int
    width_px: int
    height_px: int
    steps: int | None = None
    """Denoising steps; None for the pipeline's default, as in `guidance` and `negative_prompt`."""
    guidance: float | None = None
    negative_prompt: str | None = None
    is_alone: bool = False
    """Whether it shares no forward with other requests."""
    interactive: bool = False
    """Whether it goes ahead of requests that are not interactive."""
    references: tuple[Raster, ...] = ()
    """Pictures to draw from; with any, the message comes with a descriptor of their pixels, one after the other."""
    strength: float | None = None
    """Share of the denoising that image to image applies to its reference, above 0 to 1; None for the default."""


class Withdraw(Struct, frozen=True, tag=True):
    """To the engine: cancel a request at the next step boundary."""

    id: int


class Progress(Struct, frozen=True, tag=True):
    """To the actor: what the engine is doing while it starts."""

    note: str


class Found(Struct, frozen=True, tag=True):
    """To the actor, once torch is imported: how many GPUs this host has."""

    gpus: int


class Ready(Struct, frozen=True, tag=True):
    """To the actor: the engine accepts requests."""

    pipeline: str
    device: str
    capacity: int
    """Requests that the engine handles at once."""
    load_s: float
    can_edit: bool = False
    """Whether the pipeline draws from pictures."""
    redraws: bool = False
    """Whether it does so by image to image, whose prompt describes the whole picture."""


class Broken(Struct, frozen=True, tag=True):
    """To the actor: the engine ends because it cannot run with these settings."""

    reason: str


class Fault(Struct, frozen=True, tag=True):
    """To the actor, as the last message: the engine ends because of an error that no request caused."""

    reason: str


class Begun(Struct, frozen=True, tag=True):
    """To the actor, before each forward: the requests in it, which are suspects if the engine dies."""

    ids: tuple[int, ...]


class Finished(Struct, frozen=True, tag=True):
    """To the actor: a picture is drawn; comes with a descriptor of its pixels, (height, width, channels), uint8."""

    id: int
    width_px: int
    height_px: int
    seconds: dict[str, float]
    """Seconds of the stages `wait`, `text`, `denoise` and `decode`."""
    batch: float
    """Mean number of requests in its forwards, itself included."""
    reused_steps: int = 0
    """Steps taken from the denoising cache."""
    channels: int = 3
    """3 for red, green and blue, or 4 with alpha."""


class Unfinished(Struct, frozen=True, tag=True):
    """To the actor: a picture could not be drawn."""

    id: int
    reason: str
    is_final: bool


class Totals(Struct, frozen=True, tag=True):
    """To the actor, every half second and when idle: what the engine has done since it was ready."""

    wall_s: float = 0.0
    busy_s: float = 0.0
    """Seconds in which the device had work."""
    forwards: int = 0
    forward_s: float = 0.0
    rows: int = 0
    tokens: int = 0
    """Tokens in all forwards, padding included."""
    reused: int = 0
    """Steps of pictures taken from the denoising cache, without a forward."""
    images: int = 0
    text_s: float = 0.0
    decode_s: float = 0.0
    splits: int = 0
    """Batches that did not fit into memory and were split."""
    waiting: int = 0
    """Requests now in the engine that have not taken a step yet."""
    running: int = 0
    """Requests now in the engine that have taken a step."""
    max_step_tokens: int = 0
    memory_bytes: int = 0
    """Peak memory of the device so far."""


Command = Load | Draw | Withdraw
Report = Progress | Found | Ready | Broken | Fault | Begun | Finished | Unfinished | Totals

encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_report = msgspec.msgpack.Decoder(Report).decode


def frame(message: Command | Report) -> bytes:
    """Return a message as bytes for the socket."""
    body = encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


class Inbox:
    """Reassembles messages from the pieces that the socket delivers."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.descriptors: deque[int] = deque()
        """Descriptors received with the messages, in order; the caller that removes one closes it."""

    def put(self, data: bytes, ancillary: list[tuple[int, int, bytes]] | None = None) -> None:
        """Add what one `recvmsg` returned."""
        self._data += data
        for level, kind, payload in ancillary or ():
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self.descriptors.extend(numbers)

    def bodies(self) -> Iterator[bytes]:
        """Yield the complete messages."""
        while len(self._data) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._data[:_LENGTH_BYTES], "little")
            if len(self._data) < end:
                return
            body = bytes(self._data[_LENGTH_BYTES:end])
            del self._data[:end]
            yield body
