"""Mutated frames and damaged ZMTP streams at a router and a picture server that run as processes.

Honest clients work beside it all the time; none of their requests may fail, and neither server may die or grow.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import trio
import zmq

from tests.faults.servers import MIB, Server, honest_pictures, honest_work, server_process
from tests.fuzzing import message_bodies, picture_frames
from tests.fuzzing.mutations import mutate
from tests.zmtp import COMMAND, MORE, RawPeer, connect, frame, greeting, metadata

_BATCH = 2_000
"""Frames between two new connections."""
_STREAM_SHARE = 50
"""One of so many frames goes as part of a damaged stream of ZMTP."""


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


def fuzz_servers(frames: int, seed: int) -> Outcome:
    """Send that many frames, half to each server, and return what it cost.

    Raises:
        AssertionError: a server died, or an honest client saw a failure.
    """
    return trio.run(_fuzz_servers, frames, seed)


async def _fuzz_servers(frames: int, seed: int) -> Outcome:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "r").mkdir()
        (folder / "b").mkdir()
        with (
            server_process("router", "ipc", folder / "r") as router,
            server_process("blobs", "ipc", folder / "b") as pictures,
        ):
            began_at = time.monotonic()
            async with (
                honest_work(router),
                honest_pictures(pictures, folder) as took_s,
                trio.open_nursery() as nursery,
            ):
                seeds = message_bodies.seeds()
                nursery.start_soon(trio.to_thread.run_sync, _send, router, seeds, frames // 2, seed)
                beside, seeds = pictures.beside, picture_frames.seeds()
                nursery.start_soon(trio.to_thread.run_sync, _send, beside, seeds, frames - frames // 2, seed + 1)
            seconds = time.monotonic() - began_at
            return Outcome(frames, seconds, router.peak_bytes(), pictures.peak_bytes(), len(took_s))


def _send(server: Server, seeds: list[bytes], count: int, seed: int) -> None:
    """Send mutated frames through libzmq, a new connection now and then, and damaged streams through bare sockets."""
    dice, sent = Random(seed), 0
    pool = [mutate(dice.choice(seeds), dice, seeds) for _ in range(2_000)]
    with zmq.Context() as context:
        while sent < count:
            batch = min(_BATCH, count - sent)
            with context.socket(zmq.DEALER) as peer:
                peer.setsockopt(zmq.LINGER, 0)
                if dice.random() < 0.5:
                    peer.setsockopt(zmq.ROUTING_ID, dice.choice((b"fuzz", dice.randbytes(8), b"\xff" * 255)))
                peer.connect(server.address)
                for _ in range(batch):
                    data = dice.choice(pool) if dice.random() < 0.9 else mutate(dice.choice(seeds), dice, seeds)
                    _send_patiently(peer, data, zmq.SNDMORE if dice.random() < 0.01 else 0)
                    if dice.random() < 0.2:
                        with suppress(zmq.Again):
                            peer.recv(zmq.NOBLOCK)
                _send_patiently(peer, b"end", 0)
            sent += batch
            pool[dice.randrange(len(pool))] = mutate(dice.choice(seeds), dice, seeds)
            for _ in range(batch // _STREAM_SHARE // 10):
                _send_stream(server, dice, pool)


def _send_patiently(peer: zmq.Socket[bytes], data: bytes, flags: int) -> None:
    """Send once there is room; read what came meanwhile, or both sides would wait."""
    while True:
        try:
            peer.send(data, flags | zmq.NOBLOCK)
            return
        except zmq.Again:
            peer.poll(10, zmq.POLLIN | zmq.POLLOUT)
            with suppress(zmq.Again):
                peer.recv(zmq.NOBLOCK)


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
