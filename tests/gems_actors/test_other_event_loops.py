"""A program that uses the client wrongly ends at once, with one clear line, and never hangs in garbage collection."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from gems_actors import app, open_client, open_test_mesh, run_mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import UsageError
from tests.gems_actors.meshes import open_local_mesh

_HANGS_AFTER_S = 60
"""Limit of a program that ends within a second unless it hangs."""

UNDER_ASYNCIO = """
import asyncio, gc, os, sys, threading
from gems_actors import UsageError, open_client

async def main():
    before = len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir("/proc/self/task"))
    for _ in range(3):
        try:
            async with open_client(sys.argv[1]):
                print("connected")
        except UsageError as error:
            print(error)
    gc.collect()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir("/proc/self/task"))) == before

asyncio.run(main())
gc.collect()
"""

ABANDONED_UNDER_TRIO = """
import gc, sys, trio
from gems_actors import open_client

async def main():
    client = open_client(sys.argv[1])
    mesh = await client.__aenter__()
    print("connected", flush=True)
    del client, mesh
    gc.collect()

try:
    trio.run(main)
finally:
    gc.collect()
    print("collected", flush=True)
"""

ABANDONED_SOCKETS = """
import gc, sys, zmq
from gems_actors.transport.sockets import open_context, open_dealer, open_router

for _ in range(3):
    context = open_context()
    holder = {"context": context, "router": open_router(context)}
    holder["router"].bind("tcp://127.0.0.1:*")
    address = holder["router"].getsockopt(zmq.LAST_ENDPOINT).decode()
    for at in (address, "tcp://127.0.0.1:9", sys.argv[1]):
        holder[at] = open_dealer(context, at, at.encode())
        holder[at].send(b"queued" * 1000, zmq.NOBLOCK) if at == address and holder[at].poll(5000, zmq.POLLOUT) else None
    holder["itself"] = holder
    del context, holder
    gc.collect()
print("collected")
"""


def run_program(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "ignore", "-c", text, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=_HANGS_AFTER_S, check=False, env=dict(os.environ)
    )


@pytest.mark.parametrize("address", ["ipc:///nowhere/router.ipc", "tcp://127.0.0.1:9"])
@pytest.mark.slow
def test_a_client_under_asyncio_says_what_to_do_and_leaves_nothing_behind(address: str) -> None:
    line = (
        "open_client: expected to run under trio, got asyncio; call it from a function that trio.run starts: under "
        "asyncio, await asyncio.to_thread(trio.run, function)"
    )
    done = run_program(UNDER_ASYNCIO, address)
    assert (done.returncode, done.stdout.splitlines()) == (0, [line] * 3), done.stderr


@pytest.mark.slow
async def test_a_client_that_is_abandoned_under_trio_does_not_keep_the_process(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        done = await trio.to_thread.run_sync(run_program, ABANDONED_UNDER_TRIO, local.address)
    assert done.stdout.splitlines() == ["connected", "collected"], done.stderr


@pytest.mark.slow
def test_a_context_that_is_forgotten_with_open_sockets_is_collected_without_waiting_for_them() -> None:
    done = run_program(ABANDONED_SOCKETS, "ipc:///nowhere/router.ipc")
    assert (done.returncode, done.stdout) == (0, "collected\n"), done.stderr


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("open_client", lambda folder: open_client("tcp://127.0.0.1:9").__aenter__()),
        ("open_test_mesh", lambda folder: open_test_mesh().__aenter__()),
        ("run_mesh", lambda folder: run_mesh(MeshConfig(data_dir=str(folder / "data")))),
        ("app.draw.run", lambda folder: app.draw.run(app.draw.DrawRequest(prompt="a cat", output=folder))),
        ("app.bulk.run", lambda folder: app.bulk.run(_bulk_options(folder))),
        (
            "app.evaluation.run",
            lambda folder: app.evaluation.run(
                app.evaluation.EvaluationOptions(benchmark="geneval", data=folder, out=folder / "out")
            ),
        ),
    ],
)
def test_everything_that_needs_trio_says_so_before_it_does_anything(
    name: str, start: Callable[[Path], Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"^{name}: expected to run under trio, got no event loop; "):
        start(tmp_path).send(None)
    assert not [*tmp_path.iterdir()]


def _bulk_options(folder: Path) -> app.bulk.BulkOptions:
    file = folder / "prompts.txt"
    return app.bulk.BulkOptions(spec=app.bulk.spec_of(file, app.DrawOptions()), file=file, out=folder / "out")
