"""Blocking sockets of pyzmq: what a good first version would be, without anything that the mesh promises.

A ROUTER-ROUTER broker that gives each request to the next of two blocking workers and keeps a table of those in flight,
msgpack at both ends, by the public calls `send_multipart` and `recv_multipart`.
"""

from __future__ import annotations

import sys
import time
from itertools import count

import msgspec
import zmq

from tests.benchmarks.peers.load import ALONE, BODY, measurements, requests_for, tell

COMMANDS = (("broker",), ("worker",), ("worker",))
encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


def serve_broker(folder: str) -> None:
    """Pass requests to workers in turn, and answers to their clients."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    for socket, name in ((front, "front"), (back, "back")):
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.bind(f"ipc://{folder}/{name}.ipc")
    workers: list[bytes] = []
    turn, poller = 0, zmq.Poller()
    in_flight: dict[bytes, bytes] = {}
    poller.register(front, zmq.POLLIN)
    poller.register(back, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            frames = socket.recv_multipart()
            if socket is front:
                client, id_, body = frames
                if id_ == b"ready?":
                    front.send_multipart([client, id_, b"%d" % len(workers)])
                    continue
                in_flight[id_] = client
                turn += 1
                back.send_multipart([workers[turn % len(workers)], id_, body])
            elif frames[1] == b"hello":
                workers.append(frames[0])
            else:
                _, id_, body = frames
                front.send_multipart([in_flight.pop(id_), id_, body])


def serve_worker(folder: str) -> None:
    """Answer one request after another."""
    socket = dealer(f"ipc://{folder}/back.ipc")
    socket.send(b"hello")
    while True:
        id_, body = socket.recv_multipart()
        request = decode(body)
        socket.send_multipart([id_, encode({"type": "Plan", "prompt": request["prompt"]})])


def dealer(address: str) -> zmq.Socket[bytes]:
    """Return a DEALER without high-water marks."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.connect(address)
    return socket


def main() -> None:
    """Be one of the processes."""
    folder, *what = sys.argv[1:]
    if what == ["broker"]:
        serve_broker(folder)
    elif what == ["worker"]:
        serve_worker(folder)
    socket, ids = dealer(f"ipc://{folder}/front.ipc"), count()

    def send() -> None:
        socket.send_multipart([b"%016d" % next(ids), encode(BODY)])

    def receive() -> None:
        _, body = socket.recv_multipart()
        assert decode(body)["prompt"] == BODY["prompt"]

    workers = b"0"
    while workers != b"2":
        socket.send_multipart([b"ready?", b""])
        _, workers = socket.recv_multipart()
        time.sleep(0.01)
    for window in measurements():
        if not window:
            alone = []
            for _ in range(ALONE):
                began = time.perf_counter()
                send()
                receive()
                alone.append(time.perf_counter() - began)
            tell(alone)
            continue
        requests, began = requests_for(window), time.perf_counter()
        for number in range(requests):
            if number >= window:
                receive()
            send()
        for _ in range(window):
            receive()
        tell(requests / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
