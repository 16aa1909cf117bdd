"""Pictures of 1.5 MB put and got, eight at once: the mesh and a bucket against the plain folder, in the same rounds.

The mesh is also compared with sockets of pyzmq that move the same bytes without copies and do nothing else.

The servers are separate processes. The bucket is moto's, a Flask application, so its row says what the calls cost
and nothing about S3. Besides moving bytes, every store digests them, twice or more, and syncs them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import trio
import zmq

from gems_actors.blobs import BlobStore, blob_store
from gems_actors.blobs.mesh import MeshBlobs
from gems_actors.config import LogConfig, MeshConfig, RouterConfig, S3Config
from gems_actors.supervision.child_main import run_role
from protocol.messages import ImageRef
from tests.benchmarks.figures import Figure, table
from tests.gems_actors.blobs.pictures import AWS, BUCKET, free_router, open_s3

_PICTURES, _BYTES, _AT_ONCE, _ROUNDS = 48, 1_500_000, 8, 3
_PROCESSES = multiprocessing.get_context("spawn")
Rates = dict[str, list[float]]


async def rate_of(store: BlobStore, do: Callable[[int], Awaitable[object]]) -> float:
    """Return how often a second something is done to the pictures, some at once."""
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def do_one(place: int) -> None:
        async with limiter:
            await do(place)

    async with store.open():
        await store.put(b"warm", media_type="image/png", width_px=16, height_px=16)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for place in range(_PICTURES):
                nursery.start_soon(do_one, place)
        return _PICTURES / (time.perf_counter() - began)


async def measure(name: str, store: BlobStore, reader: BlobStore, rates: Rates) -> None:
    """Put new pictures into a store and get them with another, twice."""
    pictures = [os.urandom(_BYTES) for _ in range(_PICTURES)]
    refs: dict[int, ImageRef] = {}

    async def put(place: int) -> None:
        refs[place] = await store.put(pictures[place], media_type="image/png", width_px=1024, height_px=1024)

    async def get(place: int) -> None:
        assert len(await reader.get(refs[place])) == _BYTES

    rates.setdefault(f"{name}: put", []).append(await rate_of(store, put))
    rates.setdefault(f"{name}: get", []).append(await rate_of(reader, get))
    rates.setdefault(f"{name}: get again", []).append(await rate_of(reader, get))


def serve_s3(ours: Connection) -> None:
    """Serve a bucket until the parent has closed its end."""
    with open_s3() as endpoint:
        ours.send(endpoint)
        ours.poll(None)


def serve_bytes(address: str) -> None:
    """Answer frames of bytes with a word, and words with frames of bytes, without a copy of any."""
    picture = os.urandom(_BYTES)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.bind(address)
        while True:
            identity, frame = socket.recv_multipart(copy=False)
            socket.send_multipart([identity, b"kept" if len(frame) > 100 else picture], copy=False)


def measure_bytes(address: str, rates: Rates) -> None:
    """Move as many pictures there and back, some at once."""
    picture = os.urandom(_BYTES)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(address)
        for step, frame in (("put", picture), ("get", b"get"), ("get again", b"get")):
            socket.send(b"warm")
            socket.recv(copy=False)
            began = time.perf_counter()
            for number in range(_PICTURES):
                if number >= _AT_ONCE:
                    socket.recv(copy=False)
                socket.send(frame, copy=False)
            for _ in range(_AT_ONCE):
                socket.recv(copy=False)
            rates.setdefault(f"bare pyzmq: {step}", []).append(_PICTURES / (time.perf_counter() - began))


@contextmanager
def open_servers(config: MeshConfig) -> Iterator[str]:
    """Run a blob server and a bucket, and give the bucket's endpoint."""
    ours, theirs = _PROCESSES.Pipe()
    blobs = _PROCESSES.Process(target=run_role, args=("blobs", config, "", "blobs-1"))
    bucket = _PROCESSES.Process(target=serve_s3, args=(theirs,))
    for process in (blobs, bucket):
        process.start()
    try:
        yield ours.recv()
    finally:
        for process in (blobs, bucket):
            process.terminate()
            process.join()


def main() -> list[Figure]:
    """Print the table, and return the figures of the mesh."""
    os.environ.update(AWS)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's server, which tells of every request
    rates: Rates = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        router = free_router()
        config = MeshConfig(
            data_dir=str(folder / "data"),
            blobs="mesh:",
            router=RouterConfig(runtime_dir=str(folder), address=router),
            log=LogConfig(level="error"),
        )
        endpoint = stack.enter_context(open_servers(config))
        plain = blob_store(MeshConfig(blobs=f"file://{folder}/plain"), router)
        bucket = blob_store(MeshConfig(blobs=f"s3://{BUCKET}/bench", s3=S3Config(endpoint=endpoint)), router)
        mesh = blob_store(config, config.local_address)
        writer, reader = (MeshBlobs(router, folder / name, 2**32) for name in ("one", "two"))
        bytes_address = f"ipc://{folder}/bytes.ipc"
        bare = _PROCESSES.Process(target=serve_bytes, args=(bytes_address,), daemon=True)
        bare.start()
        stack.callback(bare.terminate)
        for _ in range(_ROUNDS):
            measure_bytes(bytes_address, rates)
            trio.run(measure, "folder", plain, plain, rates)
            trio.run(measure, "mesh, the router's host", mesh, mesh, rates)
            trio.run(measure, "mesh, another host", writer, reader, rates)
            trio.run(measure, "bucket (moto)", bucket, bucket, rates)
    for name, found in rates.items():
        step = name.rpartition(": ")[2]
        ratios = [mine / base for mine, base in zip(found, rates[f"folder: {step}"], strict=True)]
        print(f"{name:<36} {statistics.median(found):7.0f} /s   {statistics.median(ratios):5.2f} of the folder")
    figures = [
        Figure(name, "/s of 1.5 MB", found, "bare pyzmq", rates[f"bare pyzmq: {name.rpartition(': ')[2]}"])
        for name, found in rates.items()
        if name.startswith("mesh")
    ]
    print("\n".join(table(figures)))
    return figures


if __name__ == "__main__":
    main()
