"""Fake pictures and stores for tests."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from gems_actors.blobs import BlobStore
from gems_actors.blobs.server import serve_blobs
from gems_actors.tasks import open_background
from protocol.blobs import blob_address
from protocol.identity import digest_of
from protocol.messages import ImageRef
from tests.processes import started

DATA = b"not really a picture" * 5000
BUCKET = "pictures"
AWS = {
    "AWS_ACCESS_KEY_ID": "test-id",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1",
}
"""Environment variables while a test uses a bucket."""


def ref_of(data: bytes) -> ImageRef:
    return ImageRef(digest=digest_of(data), media_type="image/png", bytes=len(data), width_px=32, height_px=16)


async def put(store: BlobStore, data: bytes = DATA) -> ImageRef:
    return await store.put(data, media_type="image/png", width_px=32, height_px=16)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def free_router() -> str:
    """Return a free router address whose blob server port is free too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 100)).close()
            except (OSError, OverflowError):  # taken, or not a valid port
                continue
        return f"tcp://127.0.0.1:{port}"


@asynccontextmanager
async def open_blob_server(router: str, folder: Path) -> AsyncIterator[None]:
    """Serve a folder next to a router's address; when the block ends, the server is gone without notice."""
    async with open_background() as nursery:
        await nursery.start(serve_blobs, [blob_address(router)], folder)
        yield


@contextmanager
def aws_environment() -> Iterator[None]:
    """Have the credentials of the tests' S3 servers in the environment, and no others."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in AWS.items():
            patch.setenv(name, value)
        yield


@contextmanager
def open_s3() -> Iterator[str]:
    """Serve S3 by moto with one empty bucket and yield the endpoint, with credentials in the environment meanwhile."""
    from moto.server import ThreadedMotoServer  # here: every worker imports this module, and few start the server

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with aws_environment():
        endpoint = f"http://{host}:{port}"
        httpx.put(f"{endpoint}/{BUCKET}", trust_env=False).raise_for_status()
        try:
            yield endpoint
        finally:
            server.stop()


@contextmanager
def open_rclone_s3(folder: Path) -> Iterator[str]:
    """Serve a folder as S3 by `rclone serve s3`, its subfolders as buckets; otherwise like `open_s3`."""
    (folder / BUCKET).mkdir()
    rclone = str(Path(sys.executable).with_name("rclone"))
    keys = f"{AWS['AWS_ACCESS_KEY_ID']},{AWS['AWS_SECRET_ACCESS_KEY']}"
    command = [rclone, "serve", "s3", "--config", os.devnull, "--addr", "127.0.0.1:0", "--auth-key", keys, str(folder)]
    with aws_environment(), started(command, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0]
                return
        raise AssertionError(f"rclone ended with {server.wait()}")


async def await_pictures(folder: Path, count: int) -> None:
    """Return once a folder has `count` pictures; the process that writes them sends no events."""
    while len(files_below(folder / "sha256")) < count:  # noqa: ASYNC110
        await trio.sleep(0.002)
