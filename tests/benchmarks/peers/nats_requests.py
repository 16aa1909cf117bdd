"""NATS request and reply: nats-server, a queue group of two workers, nats-py with uvloop where that is installed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.load import BODY, measure_asyncio
from tests.benchmarks.peers.raw_pyzmq import decode, encode

COMMANDS = (("server",), ("worker",), ("worker",))
REQUIRES = ("nats",)


def missing() -> str:
    """Return what is not installed, if anything."""
    return "" if shutil.which("nats-server") else "nats-server"


def serve(folder: str) -> None:
    """Run the server on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(("nats-server", "-a", "127.0.0.1", "-p", str(port), "-l", f"{folder}/nats.log"))
    (Path(folder) / "port.part").write_text(str(port))
    (Path(folder) / "port.part").rename(Path(folder) / "port")
    server.wait()


async def _say_nothing(error: Exception) -> None:
    """Keep quiet about a server that is gone, as it is in the end."""


async def _connect(folder: str) -> Any:
    nats = import_module("nats")
    port = Path(folder) / "port"
    while True:
        with suppress(OSError, nats.errors.Error):
            address = f"nats://127.0.0.1:{port.read_text()}"
            return await nats.connect(address, connect_timeout=1, error_cb=_say_nothing)
        await asyncio.sleep(0.05)


async def serve_worker(folder: str) -> None:
    """Answer requests."""
    connection = await _connect(folder)

    async def answer(message: Any) -> None:
        request = decode(message.data)
        await message.respond(encode({"type": "Plan", "prompt": request["prompt"]}))

    await connection.subscribe("work", queue="workers", cb=answer)

    async def greet(message: Any) -> None:
        await message.respond(b"")

    await connection.subscribe("hello", cb=greet)
    await connection.flush()
    await asyncio.Event().wait()


async def run_client(folder: str) -> None:
    """Measure."""
    connection = await _connect(folder)
    answers: set[str] = set()
    while len(answers) < 2:  # both workers answer a hello; the first answer wins, so ask until both are there
        inbox = connection.new_inbox()
        subscription = await connection.subscribe(inbox)
        await connection.publish("hello", b"", reply=inbox)
        with suppress(asyncio.TimeoutError, TimeoutError):
            for number in range(2):
                await subscription.next_msg(timeout=0.2)
                answers.add(str(number))
        if len(answers) < 2:
            answers.clear()
        await subscription.unsubscribe()

    async def ask() -> None:
        reply = await connection.request("work", encode(BODY), timeout=600)
        assert decode(reply.data)["prompt"] == BODY["prompt"]

    await measure_asyncio(ask)
    await connection.close()


def main() -> None:
    """Be one of the processes."""
    folder, *what = sys.argv[1:]
    if what == ["server"]:
        serve(folder)
        return
    task = serve_worker if what else run_client
    if find_spec("uvloop") is None:
        asyncio.run(task(folder))
    else:
        import_module("uvloop").run(task(folder))


if __name__ == "__main__":
    main()
