"""200 open pages of a gateway while a mesh has 50 events a second: its CPU and memory, and what each page gets.

150 pages follow one job whose twenty pictures are drawn round by round; 25 show the mesh and 25 the run, and ask every
two seconds. Five further pages of the job do not read: they are disconnected, and the others notice nothing. The image
model takes its time without CPU, and no picture meets anything, so that every picture has all of its rounds.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import structlog
import trio

from gems_actors.client import open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.supervision.runtime_dir import open_private_folder
from gems_actors.supervision.supervisor import open_supervisor
from protocol.messages import ImageDrawn, StepTaken
from tests.benchmarks.bench_bulk import run_role_with
from tests.benchmarks.bench_gateway import SlowImages, cpu_s
from tests.gems_actors.gateway.doors import free_port
from tests.processes import memory_kib

_FOLLOWING, _ASKING, _DEAF = 150, 25, 5
_PICTURES, _ROUNDS, _PICTURE_S = 20, 40, 1.0
_WARM_S, _MEASURED_S, _CUT_S = 5.0, 20.0, 120.0
_ESTABLISHED = "01"
_MAX_CPU_SHARE, _MAX_MIB, _MAX_UPDATES_PER_S = 0.30, 150.0, 4.0


class PacedImages(SlowImages):
    """An image model that takes a second for each picture."""

    capacity = _PICTURES
    picture_s = _PICTURE_S


def run_paced_role(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run a role with models that only wait."""
    return run_role_with(PacedImages, role, config, address, name, verify="no: it is not there")


@dataclass
class Seen:
    """What pages got while that is measured."""

    is_measured: bool = False
    updates: list[int] = field(default_factory=list)
    """Of each page that follows the job."""
    bytes: int = 0
    answers: int = 0
    events: int = 0
    """Of the mesh."""


async def follow(port: int, path: str, seen: Seen) -> None:
    """Be a page that follows a job."""
    number = len(seen.updates)
    seen.updates.append(0)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while data := await stream.receive_some(1 << 16):
            if seen.is_measured:
                seen.updates[number] += data.count(b"event: view\n")
                seen.bytes += len(data)


async def poll(http: httpx.AsyncClient, path: str, seen: Seen) -> None:
    """Be a page that asks every two seconds."""
    while True:
        (await http.get(path)).raise_for_status()
        seen.answers += seen.is_measured
        await trio.sleep(2.0)


async def stay_deaf(port: int, path: str) -> float:
    """Be a page that reads nothing of what it asked for; return after how many seconds it was disconnected."""
    began = time.perf_counter()
    with trio.socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stranger.connect(("127.0.0.1", port))
        await stranger.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while _is_held(port, stranger.getsockname()[1]):  # noqa: ASYNC110
            await trio.sleep(0.2)  # nobody tells a page that it was disconnected before it reads
    return time.perf_counter() - began


def _is_held(port: int, client_port: int) -> bool:
    """Return whether a server has an open connection to a client."""
    ends = f":{port:04X}", f":{client_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if local.endswith(ends[0]) and remote.endswith(ends[1]):
            return state == _ESTABLISHED
    return False


async def count_events(address: str, run: str, seen: Seen) -> None:
    """Count the events of a run."""
    async with open_client(address) as mesh, mesh.events(run) as events:
        async for event in events:
            seen.events += seen.is_measured and isinstance(event, StepTaken | ImageDrawn)


async def measure() -> bool:
    """Print the figures, and return whether all that is promised was kept."""
    port = free_port()
    served = f"gateway.address=127.0.0.1:{port}"
    settings = ["log.level=error", "supervisor.grace_s=2", served, "gateway.max_images=1000"]
    seen, cut_after_s = Seen(), []
    with (
        tempfile.TemporaryDirectory(prefix="gems-") as folder,
        open_private_folder(load_config(environment={}, settings=[*settings, f"data_dir={folder}"])) as config,
    ):
        async with (
            open_supervisor(config, entry=f"{__name__}:run_paced_role") as supervisor,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as http,
        ):
            await supervisor.ready()
            prompts = [f"{number + 2} red cats to the left of a stone dog" for number in range(_PICTURES)]
            job = {"prompts": prompts, "size": "64x64", "gems": {"rounds": _ROUNDS}}
            begun = (await http.post("/v1/gems/jobs", json=job)).raise_for_status().json()
            view = f"/v1/gems/jobs/{begun['id']}/view"

            async def be_deaf() -> None:
                with trio.move_on_after(_CUT_S):
                    cut_after_s.append(await stay_deaf(port, view))

            async with trio.open_nursery() as pages:
                for _ in range(_FOLLOWING):
                    pages.start_soon(follow, port, view, seen)
                for path in ("/v1/gems/mesh", f"/v1/gems/runs/{begun['run']}?after=0"):
                    for _ in range(_ASKING):
                        pages.start_soon(poll, http, path, seen)
                pages.start_soon(count_events, supervisor.address, begun["run"], seen)
                await trio.sleep(_WARM_S)
                seen.is_measured, used, began = True, cpu_s(supervisor, of_gateway=True), time.perf_counter()
                async with trio.open_nursery() as deaf:
                    for _ in range(_DEAF):
                        deaf.start_soon(be_deaf)
                    await trio.sleep(_MEASURED_S)
                    seconds, seen.is_measured = time.perf_counter() - began, False
                    share = (cpu_s(supervisor, of_gateway=True) - used) / seconds
                    (pid,) = (child.pid for child in supervisor.children() if child.role == "gateway")
                    resident_mib = memory_kib(pid)[0] / 1024
                pages.cancel_scope.cancel()
            with suppress(httpx.HTTPError):
                await http.delete(f"/v1/gems/jobs/{begun['id']}")
    rates = [count / seconds for count in seen.updates]
    print(f"{seen.events / seconds:.0f} events/s of the mesh, {seen.bytes / seconds / 1e6:.1f} MB/s to pages")
    print(f"a page of the job: {min(rates):.1f} to {max(rates):.1f} updates/s")
    print(f"{2 * _ASKING} other pages: {seen.answers / seconds:.0f} answers/s")
    print(f"gateway: {100 * share:.0f} % of a core, {resident_mib:.0f} MiB resident")
    cut = [f"{found:.0f} s" for found in sorted(cut_after_s)]
    print(f"pages that do not read: {len(cut)} of {_DEAF} disconnected, after {', '.join(cut) or 'none'}")
    is_even = min(rates) > 0 and max(rates) <= _MAX_UPDATES_PER_S + 1 / seconds
    return is_even and share <= _MAX_CPU_SHARE and resident_mib <= _MAX_MIB and len(cut) == _DEAF


def main() -> None:
    """Print the load of the machine and the figures; exit with 1 if a promise was not kept."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if not trio.run(measure):
        sys.exit("expected all limits to hold")


if __name__ == "__main__":
    main()
