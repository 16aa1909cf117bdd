"""Pictures of 1.5 MB put and got, eight at once: the mesh and a bucket against the plain folder, in the same rounds.

The mesh is also compared, over the same transport, with sockets of pyzmq that move one picture again and again without
copies, which neither side ever reads; and with the shortest program that does what the mesh promises: each side digests
what it gets, and what is put is written and synced. The second is the limit that a store with these promises has.

The servers are separate processes. The bucket is moto's, a Flask application, so its row says what the calls cost
and nothing about S3.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import trio
import zmq

from gems_actors.blobs import BlobFolder, BlobStore, blob_store
from gems_actors.blobs.mesh import MeshBlobs
from gems_actors.config import LogConfig, MeshConfig, RouterConfig, S3Config
from gems_actors.supervision.child_main import run_role
from protocol.identity import digest_of
from protocol.messages import ImageRef
from tests.benchmarks.figures import Figure, table
from tests.gems_actors.blobs.pictures import AWS, BUCKET, free_router, open_s3

_PICTURES, _BYTES, _AT_ONCE, _ROUNDS = 96, 1_500_000, 8, 5
_BARE_SHARE = 5
"""How many times as many pictures the bare sockets move, so that a step of theirs takes a tenth of a second or more."""
_BARE, _LEAST = "bare pyzmq", "pyzmq with digests and files"
_HERE, _ELSEWHERE = "the router's host", "another host"
_PROCESSES = multiprocessing.get_context("spawn")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Rates(dict[str, list[float]]):
    """Pictures per second of each step, in each round, and what they cost."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu_ms: dict[str, list[float]] = {}
        """CPU time for a picture, of this process and the server."""

    @contextmanager
    def timed(self, name: str, server: int | None, count: int = _PICTURES) -> Iterator[None]:
        """Time a block that moves pictures to or from a server, by its process id."""
        used, began = _cpu_s(server), time.perf_counter()
        yield
        self.setdefault(name, []).append(count / (time.perf_counter() - began))
        self.cpu_ms.setdefault(name, []).append(1000 * (_cpu_s(server) - used) / count)


def _cpu_s(server: int | None) -> float:
    """Return the CPU time of this process and a server."""
    seconds = time.process_time()
    if server is not None:
        fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return seconds


async def measure_step(
    name: str, store: BlobStore, do: Callable[[int], Awaitable[object]], server: int | None, rates: Rates
) -> None:
    """Do something to each of the pictures, some at once."""
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def do_one(place: int) -> None:
        async with limiter:
            await do(place)

    async with store.open():
        await store.put(b"warm", media_type="image/png", width_px=16, height_px=16)
        with rates.timed(name, server):
            async with trio.open_nursery() as nursery:
                for place in range(_PICTURES):
                    nursery.start_soon(do_one, place)


async def measure(name: str, store: BlobStore, reader: BlobStore, server: int | None, rates: Rates) -> None:
    """Put new pictures into a store and get them with another, twice."""
    pictures = [os.urandom(_BYTES) for _ in range(_PICTURES)]
    refs: dict[int, ImageRef] = {}

    async def put(place: int) -> None:
        refs[place] = await store.put(pictures[place], media_type="image/png", width_px=1024, height_px=1024)

    async def get(place: int) -> None:
        assert len(await reader.get(refs[place])) == _BYTES

    await measure_step(f"{name}: put", store, put, server, rates)
    await measure_step(f"{name}: get", reader, get, server, rates)
    await measure_step(f"{name}: get again", reader, get, server, rates)


def serve_s3(ours: Connection) -> None:
    """Serve a bucket until the parent has closed its end."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    with open_s3() as endpoint:
        ours.send(endpoint)
        ours.poll(None)


def serve_bytes(addresses: Sequence[str]) -> None:
    """Answer frames of bytes with a word, and words with frames of bytes, without a copy of any."""
    picture = os.urandom(_BYTES)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        for address in addresses:
            socket.bind(address)
        while True:
            identity, frame = socket.recv_multipart(copy=False)
            socket.send_multipart([identity, b"kept" if len(frame) > 100 else picture], copy=False)


def measure_bytes(name: str, address: str, server: int | None, rates: Rates) -> None:
    """Move pictures there and back, some at once."""
    picture, count = os.urandom(_BYTES), _BARE_SHARE * _PICTURES
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(address)
        for step, frame in (("put", picture), ("get", b"get"), ("get again", b"get")):
            socket.send(b"warm")
            socket.recv(copy=False)
            with rates.timed(f"{name}: {step}", server, count):
                for number in range(count):
                    if number >= _AT_ONCE:
                        socket.recv(copy=False)
                    socket.send(frame, copy=False)
                for _ in range(_AT_ONCE):
                    socket.recv(copy=False)


def serve_folder(addresses: Sequence[str], folder: Path) -> None:
    """Do what the promises of a blob server need and nothing else: digest and store what comes, send what is there."""
    store = BlobFolder(folder)

    def work() -> None:
        with context.socket(zmq.REP) as socket:
            socket.connect("inproc://work")
            while True:
                digest, *data = socket.recv_multipart(copy=False)
                if data:
                    assert digest_of(data[0].buffer) == digest.bytes.decode()
                    store.write(digest.bytes.decode(), data[0].buffer)
                    socket.send(b"kept")
                else:
                    socket.send(store.path_of(digest.bytes.decode()).read_bytes(), copy=False)

    with zmq.Context() as context, context.socket(zmq.ROUTER) as front, context.socket(zmq.DEALER) as back:
        for address in addresses:
            front.bind(address)
        back.bind("inproc://work")
        for _ in range(_AT_ONCE):
            threading.Thread(target=work, daemon=True).start()
        zmq.proxy(front, back)


def measure_folder(name: str, address: str, cache: Path | None, server: int | None, rates: Rates) -> None:
    """Put and get pictures with threads that each do one thing after the other; with a cache, as on another host."""
    pictures = [os.urandom(_BYTES) for _ in range(_PICTURES)]
    digests = ["" for _ in pictures]
    sockets = threading.local()

    def ask(*frames: bytes) -> bytes:
        if not hasattr(sockets, "mine"):
            sockets.mine = context.socket(zmq.REQ)
            sockets.mine.connect(address)
        sockets.mine.send_multipart(frames, copy=False)
        return bytes(sockets.mine.recv(copy=False).buffer)

    def put(place: int) -> None:
        digests[place] = digest_of(pictures[place])
        assert ask(digests[place].encode(), pictures[place]) == b"kept"
        if cache is not None:
            (cache / digests[place]).write_bytes(pictures[place])

    def get(place: int) -> None:
        data = ask(digests[place].encode())
        assert digest_of(data) == digests[place]
        if cache is not None:
            (cache / f"{digests[place]}.read").write_bytes(data)

    def get_again(place: int) -> None:
        if cache is None:
            get(place)
        else:
            assert digest_of((cache / f"{digests[place]}.read").read_bytes()) == digests[place]

    with zmq.Context() as context:
        for step, do in (("put", put), ("get", get), ("get again", get_again)):
            with ThreadPoolExecutor(_AT_ONCE) as threads, rates.timed(f"{name}: {step}", server):
                list(threads.map(do, range(_PICTURES)))
        context.destroy()


def remove(*folders: Path) -> None:
    """Remove what was measured: in a virtual machine, memory for files that it did not have yet costs the next step."""
    for folder in folders:
        shutil.rmtree(folder)


@contextmanager
def started(target: Callable[..., object], *arguments: object) -> Iterator[int | None]:
    """Run a function in another process until the block ends, and give the id of the process."""
    process = _PROCESSES.Process(target=target, args=arguments)
    process.start()
    try:
        yield process.pid
    finally:
        process.terminate()
        process.join()


def main() -> list[Figure]:
    """Print the table, and return the figures of the mesh."""
    os.environ.update(AWS)
    rates = Rates()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        router = free_router()
        config = MeshConfig(
            data_dir=str(folder / "data"),
            blobs="mesh:",
            router=RouterConfig(runtime_dir=str(folder), address=router),
            log=LogConfig(level="error"),
        )
        bare_ends, least_ends = ((f"ipc://{folder}/{name}.ipc", free_router()) for name in ("bare", "least"))
        ours, theirs = _PROCESSES.Pipe()
        moto = stack.enter_context(started(serve_s3, theirs))
        endpoint = ours.recv()
        server = stack.enter_context(started(run_role, "blobs", config, "", "blobs-1"))
        bare = stack.enter_context(started(serve_bytes, bare_ends))
        least = stack.enter_context(started(serve_folder, least_ends, folder / "least"))
        plain = blob_store(MeshConfig(blobs=f"file://{folder}/plain"), router)
        bucket = blob_store(MeshConfig(blobs=f"s3://{BUCKET}/bench", s3=S3Config(endpoint=endpoint)), router)
        mesh = blob_store(config, config.local_address)
        writer, reader = (MeshBlobs(router, folder / name, 2**32) for name in ("one", "two"))
        for _ in range(_ROUNDS):
            for place, (where, cache) in enumerate(((_HERE, None), (_ELSEWHERE, folder / "cache"))):
                measure_bytes(f"{_BARE}, {where}", bare_ends[place], bare, rates)
                (folder / "cache").mkdir()
                measure_folder(f"{_LEAST}, {where}", least_ends[place], cache, least, rates)
                remove(folder / "cache", folder / "least")
            trio.run(measure, f"mesh, {_HERE}", mesh, mesh, server, rates)
            remove(folder / "data/blobs")
            trio.run(measure, f"mesh, {_ELSEWHERE}", writer, reader, server, rates)
            remove(folder / "data/blobs", folder / "one", folder / "two")
            trio.run(measure, "folder", plain, plain, None, rates)
            remove(folder / "plain")
            trio.run(measure, "bucket (moto)", bucket, bucket, moto, rates)
    for name, found in rates.items():
        spent = statistics.median(rates.cpu_ms[name])
        print(f"{name:<64} {statistics.median(found):7.0f} /s  {spent:5.2f} ms CPU")
    figures = [
        Figure(f"{name}{what}", unit, found[name], baseline, found[name.replace("mesh", baseline, 1)])
        for what, unit, found in (("", "/s of 1.5 MB", rates), (", CPU", "ms", rates.cpu_ms))
        for baseline in (_BARE, _LEAST)
        for name in rates
        if name.startswith("mesh")
    ]
    print("\n".join(table(figures)))
    return figures


if __name__ == "__main__":
    main()
