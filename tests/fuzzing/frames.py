"""Mutated frames and damaged ZMTP streams at a router and a picture server that run as processes.

Honest clients work beside it all the time; none of their requests may fail, and neither server may die or grow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import trio

from protocol.blobs import BlobHeader, BlobKind, pack_blob
from tests.faults.servers import MIB, Server, honest_pictures, honest_work, server_process
from tests.fuzzing import message_bodies, picture_frames
from tests.fuzzing.mutations import mutate
from tests.zmtp import COMMAND, MORE, RawPeer, connect, frame, greeting, metadata

_BLOCK = 1_000
"""Frames that are sent at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the servers went through."""

    frames: int
    seconds: float
    router_peak_bytes: int
    pictures_peak_bytes: int
    pictures_stored: int
    """Pictures that the honest client stored and read meanwhile."""

    def __str__(self) -> str:
        peaks = (
            f"router {self.router_peak_bytes / MIB:.0f} MiB, picture server {self.pictures_peak_bytes / MIB:.0f} MiB"
        )
        return (
            f"{self.frames:,} frames in {self.seconds:.0f} s: {peaks} at most; {self.pictures_stored} honest pictures"
        )


def fuzz_servers(frames: int, seed: int, limit_s: float = math.inf) -> Outcome:
    """Send that many frames, half to each server, or as many as fit into a time, and return what it cost.

    Raises:
        AssertionError: a server died, or an honest client saw a failure.
    """
    return trio.run(_fuzz_servers, frames, seed, limit_s)


async def _fuzz_servers(frames: int, seed: int, limit_s: float) -> Outcome:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "r").mkdir()
        (folder / "b").mkdir()
        with (
            server_process("router", "ipc", folder / "r") as router,
            server_process("blobs", "ipc", folder / "b") as pictures,
        ):
            began_at = time.monotonic()
            sent = [0, 0]

            async def send(which: int, *arguments: Any) -> None:
                sent[which] = await trio.to_thread.run_sync(partial(_send, began_at + limit_s, *arguments))

            async with (
                honest_work(router),
                honest_pictures(pictures, folder) as took_s,
                trio.open_nursery() as nursery,
            ):
                half, rest = frames // 2, frames - frames // 2
                nursery.start_soon(send, 0, router, _marker_of_router, message_bodies.seeds(), half, seed)
                beside = pictures.beside
                nursery.start_soon(send, 1, beside, _marker_of_pictures, picture_frames.seeds(), rest, seed + 1)
            seconds = time.monotonic() - began_at
            return Outcome(sum(sent), seconds, router.peak_bytes(), pictures.peak_bytes(), len(took_s))


def _send(
    until: float, server: Server, marker: Callable[[bytes], bytes], seeds: list[bytes], count: int, seed: int
) -> int:
    """Send mutated frames in blocks, each of which must be handled before the next, and damaged streams between.

    Returns how many frames were sent until a point of time.
    """
    dice, sent, blocks = Random(seed), 0, 0
    pool = [mutate(dice.choice(seeds), dice, seeds) for _ in range(2_000)]
    peer: RawPeer | None = None
    while sent < count and time.monotonic() < until:
        size = min(_BLOCK, count - sent)
        for _ in range(20):
            pool[dice.randrange(len(pool))] = mutate(dice.choice(seeds), dice, seeds)
        if peer is None or dice.random() < 0.1:
            if peer is not None:
                peer.socket.close()
            peer = RawPeer(server.address, dice.choice((b"", b"fuzz", dice.randbytes(8), b"\xff" * 255)))
        try:
            name = dice.randbytes(8)
            peer.socket.sendall(b"".join(frame(data) for data in dice.choices(pool, k=size)))
            _await_handled(peer, marker(name), name)
        except OSError:  # cut, or replaced by another connection with its identity
            peer.socket.close()
            peer = None
            continue
        sent, blocks = sent + size, blocks + 1
        if blocks % 10 == 0:
            _send_stream(server, dice, pool)
    if peer is not None:
        peer.socket.close()
    return sent


def _await_handled(peer: RawPeer, marker: bytes, name: bytes) -> None:
    """Send a frame that is answered under its name until it is: then all before it were handled."""
    heard = b""
    for _ in range(300):
        peer.socket.settimeout(30)
        peer.socket.sendall(frame(marker))
        peer.socket.settimeout(0.2)
        with suppress(TimeoutError):
            while more := peer.socket.recv(1 << 20):
                heard = heard[-64:] + more
                if name in heard:
                    return
            raise ConnectionError("the connection was closed")
    raise AssertionError(
        f"{peer.socket.getpeername()}: expected an answer to a frame after others, got none in a minute"
    )


def _marker_of_router(name: bytes) -> bytes:
    """Return a frame of another version, which is refused under its id."""
    return b"GA\xfe" + bytes(9) + name * 2 + bytes(64)


def _marker_of_pictures(name: bytes) -> bytes:
    return pack_blob(BlobHeader(BlobKind.ARE_YOU_AT_IT, int.from_bytes(name), 0, bytes(32)))


def _send_stream(server: Server, dice: Random, pool: list[bytes]) -> None:
    """Send a stream of ZMTP, damaged in its handshake or after."""
    flags = (0, 0, MORE, COMMAND, MORE | COMMAND, dice.randrange(256))
    frames = [frame(dice.choice(pool), dice.choice(flags)) for _ in range(10)]
    with suppress(OSError, ConnectionError):
        if dice.random() < 0.5:
            with RawPeer(server.address, dice.randbytes(dice.randrange(300))) as peer:
                peer.socket.settimeout(1)
                peer.socket.sendall(b"".join(frames))
        else:
            shake = greeting(dice.choice((b"NULL", b"CURVE", b"PLAIN"))) + frame(b"\x05READY" + metadata(b"x"), COMMAND)
            with connect(server.address) as stranger:
                stranger.settimeout(1)
                stranger.sendall(mutate(shake + b"".join(frames), dice, pool))
