"""A thousand trajectories in one conductor, against one chat server that holds 64 requests and takes 200 ms for each.

A whole mesh, each role a process; the server is another process and answers 429 above its limit. The baseline of the
same run is the server's best: 64 connections that send requests without a pause. All pictures are the same file, so
that only the chat requests are measured.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import structlog
import trio
from msgspec import structs

from gems_actors.actor import Actor, answers
from gems_actors.blobs import blob_store
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.errors import RequestError
from gems_actors.supervision.child_main import run_role
from gems_actors.supervision.supervisor import open_supervisor
from protocol.costs import add_costs, chat_cost
from protocol.envelope import Lane
from protocol.messages import DrawPicture, GenerateImage, Image, ReadStatus, Spent
from tests.actors.fakes import png
from tests.processes import memory_kib

TRAJECTORIES, LIMIT, LATENCY_S = 1000, 64, 0.2
_BASELINE_S = 10.0

_SERVER = """
import asyncio, json, sys
limit, latency_s = int(sys.argv[1]), float(sys.argv[2])
busy, answered, turned_away, times = 0, 0, 0, []

def answer(body):
    if b"You inspect one picture" in body:
        text = "no: it is not there"
    elif b"You prepare the inspection" in body:
        names = [f"r{n}" for n in range(4)]
        text = json.dumps({"requirements": [
            {"id": n, "question": f"Is {n} there?", "kind": "object", "depends_on": None} for n in names]})
    elif b"You work in a studio" in body:
        text = '{"skill": null}'
    elif b'"diagnosis"' in body or b'diagnosis' in body:
        text = '{"diagnosis": "lost", "prompt": "a picture, every part of it"}'
    else:
        text = "Name each part first."
    usage = {"prompt_tokens": 500, "completion_tokens": 20}
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}).encode()

async def serve(reader, writer):
    global busy, answered, turned_away
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            lower = head.lower()
            size = int(lower.split(b"content-length:")[1].split(b"\\r")[0]) if b"content-length" in lower else 0
            body = await reader.readexactly(size)
            if head.startswith(b"GET"):
                status, data = "200 OK", json.dumps(
                    {"answered": answered, "turned_away": turned_away, "times": times}).encode()
            elif busy >= limit:
                turned_away += 1
                status, data = "429 Too Many Requests", b'{"error": {"message": "busy"}}'
            else:
                busy += 1
                await asyncio.sleep(latency_s)
                busy -= 1
                answered += 1
                times.append(round(asyncio.get_running_loop().time(), 3))
                status, data = "200 OK", answer(body)
            writer.write(f"HTTP/1.1 {status}\\r\\nContent-Length: {len(data)}\\r\\n\\r\\n".encode() + data)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class Generator(Actor):
    """Draws nothing: every picture is the same."""

    role = "generator"
    default_capacity = 1024

    def __init__(self, config: MeshConfig, mesh: Mesh) -> None:
        super().__init__(config, mesh)
        self.blobs = blob_store(config, mesh.address)

    @answers
    async def generate(self, request: GenerateImage) -> Image:
        """Return the one picture there is."""
        return Image(image=await self.blobs.put(png(), media_type="image/png", width_px=32, height_px=16))


def run_null_role(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play a role, but for the generator, which draws nothing."""
    roles = {**config.roles, "generator": structs.replace(config.role("generator"), actor=f"{__name__}:Generator")}
    return run_role(role, structs.replace(config, roles=roles), address, name)


@contextmanager
def open_server(limit: int = LIMIT) -> Iterator[str]:
    """Run a server that holds up to `limit` requests, and yield its address."""
    command = [sys.executable, "-c", _SERVER, str(limit), str(LATENCY_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def measure_best(url: str) -> float:
    """Return the answers a second that the server gives to `LIMIT` connections that ask without a break."""
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=LIMIT)) as client:
        before = (await client.get(url)).json()["answered"]

        async def ask() -> None:
            while True:
                await client.post(f"{url}/v1/chat/completions", json={"messages": []}, timeout=30)

        with trio.move_on_after(_BASELINE_S):
            async with trio.open_nursery() as nursery:
                for _ in range(LIMIT):
                    nursery.start_soon(ask)
        return float((await client.get(url)).json()["answered"] - before) / _BASELINE_S


async def measure_mesh(url: str, folder: str) -> dict[str, Any]:
    """Take all trajectories through the mesh, and return its figures."""
    config = load_config(
        environment={},
        settings=[
            f"data_dir={folder}/data", f"router.runtime_dir={folder}/run", "log.level=error", "draw.max_rounds=3",
            "chat.backend=openai", f"chat.url={url}/v1", "chat.timeout_s=30", "verify.mode=words",
        ],
    )  # fmt: skip
    spent: dict[str, Spent] = {}
    failures: list[str] = []
    peaks: dict[str, float] = {}
    figures: dict[str, dict[str, float]] = {}

    async def draw(mesh: Mesh, line: int) -> None:
        task = DrawPicture(run="bench", line=line, prompt=f"picture {line}", seed=line, settings=config.draw)
        try:
            add_costs(spent, (await mesh.ask(task, lane=Lane.BULK)).spent)
        except RequestError as error:
            failures.append(str(error))

    async with open_supervisor(config, entry=f"{__name__}:run_null_role") as supervisor:
        await supervisor.ready()
        async with open_client(supervisor.address) as mesh, trio.open_nursery() as background:

            async def watch() -> None:
                while True:
                    for child in supervisor.children():
                        peaks[child.role] = max(peaks.get(child.role, 0.0), memory_kib(child.pid)[0] / 1024)
                    for role in (await mesh.ask(ReadStatus())).roles:
                        figures[role.role] = role.actors[0].figures
                    await trio.sleep(1.0)

            background.start_soon(watch)
            async with trio.open_nursery() as nursery:
                for line in range(TRAJECTORIES):
                    nursery.start_soon(draw, mesh, line)
            background.cancel_scope.cancel()
    late = sum(asked.get("late", 0) for asked in figures.values())
    return {"failures": failures, "calls": chat_cost(spent).calls, "peaks": peaks, "late": int(late)}


def counts_of(url: str) -> dict[str, Any]:
    """Return what the server has counted."""
    with urllib.request.urlopen(url) as reply:
        found: dict[str, Any] = json.load(reply)
    return found


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with open_server() as url, tempfile.TemporaryDirectory() as folder:
        best = trio.run(measure_best, url)
        before = counts_of(url)
        found = trio.run(measure_mesh, url, folder)
        after = counts_of(url)
        times = after["times"][before["answered"] :]
    # The first and the last tenth are left out: while work comes and goes there is not enough of it.
    first, last = len(times) // 10, len(times) * 9 // 10
    rate = (last - first) / (times[last] - times[first])
    print(f"{TRAJECTORIES} trajectories, {len(times)} answers; {len(found['failures'])} failed, {found['late']} late")
    print(f"answers a second: {rate:.0f}, {rate / best:.3f} of the server's best ({best:.0f})")
    print(f"over all, the first and the last tenth too: {len(times) / (times[-1] - times[0]):.0f}")
    print(f"turned away with 429: {(after['turned_away'] - before['turned_away']) / len(times):.4f} of the answers")
    print(f"resident MiB: {', '.join(f'{role} {size:.0f}' for role, size in found['peaks'].items())}")
    for failure in found["failures"][:3]:
        print(failure)
