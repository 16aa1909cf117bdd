"""A slow network link: `python -m tests.faults.slow_line PORT HOST:PORT SECONDS`.

For kernels without netem: a process that listens on a port and forwards each connection, in order, delaying all data
by the given seconds.
"""

from __future__ import annotations

import math
import sys
from functools import partial

import trio


async def _forward(source: trio.SocketStream, sink: trio.SocketStream, seconds: float) -> None:
    sender, receiver = trio.open_memory_channel[tuple[float, bytes]](math.inf)

    async def read() -> None:
        with sender:
            async for data in source:
                sender.send_nowait((trio.current_time() + seconds, bytes(data)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        async for at, data in receiver:
            await trio.sleep_until(at)
            await sink.send_all(data)
        await sink.send_eof()


async def _serve(host: str, port: int, seconds: float, near: trio.SocketStream) -> None:
    try:
        async with await trio.open_tcp_stream(host, port) as far, trio.open_nursery() as nursery:
            nursery.start_soon(_forward, near, far, seconds)
            nursery.start_soon(_forward, far, near, seconds)
    except* (OSError, trio.BrokenResourceError):
        pass  # one end is gone; the other end sees its own connection close


async def _main(port: int, target: str, seconds: float) -> None:
    host, _, far_port = target.rpartition(":")
    async with trio.open_nursery() as nursery:
        serve = partial(_serve, host, int(far_port), seconds)
        await nursery.start(partial(trio.serve_tcp, serve, port, host="127.0.0.1"))
        print("listening", flush=True)  # noqa: T201


if __name__ == "__main__":
    trio.run(_main, int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
