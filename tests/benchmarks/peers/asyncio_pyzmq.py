"""The same sockets under asyncio, by `zmq.asyncio`: a broker of two tasks, and a future for each request."""

from __future__ import annotations

import asyncio
import sys
from itertools import count

import zmq
import zmq.asyncio

from tests.benchmarks.peers.load import BODY, measure_asyncio
from tests.benchmarks.peers.raw_pyzmq import decode, encode

COMMANDS = (("broker",), ("worker",), ("worker",))


def _open(context: zmq.asyncio.Context, kind: int) -> zmq.asyncio.Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    return socket


async def serve_broker(folder: str) -> None:
    """Pass requests to workers in turn, and answers to their clients."""
    context = zmq.asyncio.Context()
    front, back = _open(context, zmq.ROUTER), _open(context, zmq.ROUTER)
    front.bind(f"ipc://{folder}/front.ipc")
    back.bind(f"ipc://{folder}/back.ipc")
    workers: list[bytes] = []
    in_flight: dict[bytes, bytes] = {}

    async def forward() -> None:
        for turn in count():
            client, id_, body = await front.recv_multipart()
            if id_ == b"ready?":
                await front.send_multipart([client, id_, b"%d" % len(workers)])
            else:
                in_flight[id_] = client
                await back.send_multipart([workers[turn % len(workers)], id_, body])

    async def return_() -> None:
        while True:
            worker, id_, *body = await back.recv_multipart()
            if id_ == b"hello":
                workers.append(worker)
            else:
                await front.send_multipart([in_flight.pop(id_), id_, *body])

    await asyncio.gather(forward(), return_())


async def serve_worker(folder: str) -> None:
    """Answer one request after another."""
    socket = _open(zmq.asyncio.Context(), zmq.DEALER)
    socket.connect(f"ipc://{folder}/back.ipc")
    await socket.send(b"hello")
    while True:
        id_, body = await socket.recv_multipart()
        request = decode(body)
        await socket.send_multipart([id_, encode({"type": "Plan", "prompt": request["prompt"]})])


async def run_client(folder: str) -> None:
    """Measure."""
    socket, ids = _open(zmq.asyncio.Context(), zmq.DEALER), count()
    socket.connect(f"ipc://{folder}/front.ipc")
    pending: dict[bytes, asyncio.Future[bytes]] = {}

    async def receive() -> None:
        while True:
            id_, body = await socket.recv_multipart()
            pending.pop(id_).set_result(body)

    async def ask() -> None:
        id_, future = b"%016d" % next(ids), asyncio.get_running_loop().create_future()
        pending[id_] = future
        await socket.send_multipart([id_, encode(BODY)])
        assert decode(await future)["prompt"] == BODY["prompt"]

    workers = b"0"
    while workers != b"2":
        await socket.send_multipart([b"ready?", b""])
        _, workers = await socket.recv_multipart()
        await asyncio.sleep(0.01)
    receiving = asyncio.create_task(receive())
    await measure_asyncio(ask)
    receiving.cancel()


def main() -> None:
    """Be one of the processes."""
    folder, *what = sys.argv[1:]
    asyncio.run({"broker": serve_broker, "worker": serve_worker}.get("".join(what), run_client)(folder))


if __name__ == "__main__":
    main()
