"""Several messages in one frame: what a process sends to the same peer at the same time.

libzmq takes a lock, wakes a thread and calls the kernel for each frame. Under load that cost more than everything that
the mesh itself does with a message. `README.md` in this folder specifies the layout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from protocol.envelope import HEADER_BYTES, MAGIC, WIRE_VERSION
from protocol.errors import FrameError

BUNDLE_START = MAGIC + bytes((WIRE_VERSION, 14))
"""How the frame of a bundle begins; no message has that kind."""
MAX_BUNDLE_BYTES = 64 * 1024
"""Size of a bundle. A message that does not fit into one is sent alone."""

_HEAD = struct.Struct(">4sI")
_LENGTH_BYTES = 4


def bundled(frames: Sequence[bytes]) -> Iterable[bytes]:
    """Return frames that carry the messages in their order, bundled where two or more fit into a bundle."""
    if frames and _HEAD.size + _LENGTH_BYTES * len(frames) + sum(map(len, frames)) <= MAX_BUNDLE_BYTES:
        return (_pack(frames),)
    return _divided(frames)


def _divided(frames: Sequence[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    room = MAX_BUNDLE_BYTES - _HEAD.size
    for frame in frames:
        size = _LENGTH_BYTES + len(frame)
        if size > room and waiting:
            yield _pack(waiting)
            waiting, room = [], MAX_BUNDLE_BYTES - _HEAD.size
        waiting.append(frame)
        room -= size
    if waiting:
        yield _pack(waiting)


def _pack(frames: Sequence[bytes]) -> bytes:
    if len(frames) == 1:
        return frames[0]
    lengths = struct.pack(f">{len(frames)}I", *map(len, frames))
    return b"".join((_HEAD.pack(BUNDLE_START, len(frames)), lengths, *frames))


def unbundled(frame: bytes) -> list[bytes]:
    """Return the messages in a bundle.

    Raises:
        FrameError: it is too long, or its lengths do not add up, or one is shorter than a header.
    """
    count = _HEAD.unpack_from(frame)[1] if len(frame) >= _HEAD.size else 0
    start = _HEAD.size + _LENGTH_BYTES * count
    if len(frame) > MAX_BUNDLE_BYTES or not count or start > len(frame):
        raise FrameError(f"expected a bundle of at most {MAX_BUNDLE_BYTES} bytes, got {count} messages in {len(frame)}")
    lengths = struct.unpack_from(f">{count}I", frame, _HEAD.size)
    if min(lengths) < HEADER_BYTES or start + sum(lengths) != len(frame):
        raise FrameError(f"expected {count} messages in a bundle of {len(frame)} bytes, got other lengths")
    messages = []
    for length in lengths:
        messages.append(frame[start : start + length])
        start += length
    return messages
