"""Pictures over the network: complete, sent once, verified at both ends, and sent again if a server dies."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing
import zmq

from gems_actors.blobs import BlobFolder, blob_store
from gems_actors.blobs.mesh import BlobCache, MeshBlobs
from gems_actors.blobs.server import serve_blobs
from gems_actors.config import MeshConfig, SupervisorConfig, load_config
from gems_actors.errors import AddressInUseError, BlobError, ConfigError
from gems_actors.supervision.runtime_dir import claim_runtime_dir, open_private_folder
from gems_actors.supervision.seats import Child
from gems_actors.supervision.supervisor import Supervisor, open_supervisor
from gems_actors.tasks import open_background
from protocol.blobs import BlobHeader, BlobKind, blob_address, pack_blob, unpack_blob
from protocol.limits import MAX_BLOB_BYTES
from tests.gems_actors.blobs.pictures import (
    DATA,
    await_pictures,
    files_below,
    free_router,
    open_blob_server,
    put,
    ref_of,
)
from tests.processes import await_gone, descendants

MANY = [bytes([number]) + os.urandom(500_000) for number in range(32)]


def store_at(router: str, folder: Path) -> MeshBlobs:
    return MeshBlobs(router, folder / "blob-cache", 10**9)


def at_ipc(folder: Path) -> str:
    return f"ipc://{folder}/router.ipc"


def test_the_setting_mesh_uses_the_server_next_to_the_first_router(tmp_path: Path) -> None:
    several = "tcp://gpu-box:27960,tcp://gpu-box:27961,tcp://another:27960"
    store = blob_store(MeshConfig(data_dir=str(tmp_path), blobs="mesh:"), several)
    assert store.locate(ref_of(DATA).digest) == f"tcp://gpu-box:28060 {ref_of(DATA).digest}"


async def test_a_picture_is_stored_in_the_folder_of_the_server(tmp_path: Path) -> None:
    store = store_at(at_ipc(tmp_path), tmp_path)
    async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"), store.open():
        ref = await put(store)
        assert ref == ref_of(DATA)
        assert await store.get(ref) == DATA
    assert BlobFolder(tmp_path / "blobs").read(ref.digest, ref.bytes) == DATA
    assert not (tmp_path / "blob-cache").exists()  # it is the same host


async def test_putting_a_picture_twice_keeps_the_first_file_and_sends_no_bytes(tmp_path: Path) -> None:
    store = store_at(at_ipc(tmp_path), tmp_path)
    async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"), store.open():
        path = BlobFolder(tmp_path / "blobs").path_of((await put(store)).digest)
        before = path.stat()
        (tmp_path / "blobs/partial").rmdir()
        (tmp_path / "blobs/partial").write_text("in the way of every write")
        await put(store)
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        with pytest.raises(BlobError, match="expected to store 3 bytes: File exists") as caught:
            await put(store, b"new")
        assert caught.value.is_outage  # any other picture would fail as well: the run stops, and no task fails
        with pytest.raises(BlobError, match="No such file") as caught:
            await store.get(ref_of(b"never stored"))
        assert not caught.value.is_outage


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (DATA[:-1], f"{{path}}: expected {len(DATA)} bytes, got {len(DATA) - 1}"),
        (b"N" + DATA[1:], "{place}: expected bytes with the digest of the picture's name, got sha256:"),
    ],
    ids=["cut", "flipped"],
)
async def test_a_damaged_file_of_the_server_is_reported_and_replaced_by_the_next_put(
    tmp_path: Path, damaged: bytes, reason: str
) -> None:
    store = store_at(at_ipc(tmp_path), tmp_path)
    async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"), store.open():
        ref = await put(store)
        path = BlobFolder(tmp_path / "blobs").path_of(ref.digest)
        path.write_bytes(damaged)
        with pytest.raises(BlobError, match="^" + reason.format(path=path, place=store.locate(ref.digest))) as caught:
            await store.get(ref)
        assert not caught.value.is_outage
        await put(store)
        assert await store.get(ref) == DATA


async def test_a_missing_picture_is_reported_with_the_path_on_the_server(tmp_path: Path) -> None:
    store = store_at(at_ipc(tmp_path), tmp_path)
    async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"), store.open():
        with pytest.raises(BlobError, match=f"^{tmp_path}/blobs/sha256/.*: expected a picture of 4 bytes: No such"):
            await store.get(ref_of(b"lost"))


async def test_a_picture_that_is_too_large_is_not_sent(tmp_path: Path) -> None:
    store = store_at(at_ipc(tmp_path), tmp_path)
    async with store.open():
        with pytest.raises(BlobError, match=f"at most {MAX_BLOB_BYTES} bytes, got {MAX_BLOB_BYTES + 1}"):
            await put(store, bytes(MAX_BLOB_BYTES + 1))


async def test_bytes_of_another_digest_and_malformed_frames_are_refused(tmp_path: Path) -> None:
    put_frame = pack_blob(BlobHeader(BlobKind.PUT, 5, 3, bytes(32)), b"abc")
    frames = {
        put_frame: "expected bytes with the digest of the request, got sha256:",
        b"GB\x09" + put_frame[3:]: "expected version 1 of the wire for pictures, got 9",
        pack_blob(BlobHeader(BlobKind.KEPT, 5, 3, bytes(32))): "expected HAS, PUT, GET or ARE_YOU_AT_IT, got KEPT",
        b"hello": "expected a header of 56 bytes",
    }

    def ask(peer: zmq.Socket[bytes], frame: bytes) -> tuple[BlobHeader, str]:
        peer.send(frame)
        header, data = unpack_blob(peer.recv())
        return header, bytes(data).decode()

    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.connect(blob_address(at_ipc(tmp_path)))
        async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"):
            for frame, reason in frames.items():
                header, answer = await trio.to_thread.run_sync(ask, peer, frame)
                assert (header.kind, header.id) == (BlobKind.FAILED, 0 if frame == b"hello" else 5)
                assert reason in answer
    assert files_below(tmp_path / "blobs") == []


async def test_a_request_before_the_server_starts_is_answered_once_it_does(tmp_path: Path) -> None:
    store = store_at(at_ipc(tmp_path), tmp_path)
    stored = trio.Event()

    async def put_early() -> None:
        await put(store)
        stored.set()

    async with store.open(), trio.open_nursery() as nursery:
        nursery.start_soon(put_early)
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"):
            await stored.wait()
            assert await store.get(ref_of(DATA)) == DATA


@pytest.mark.slow
async def test_a_server_that_never_answers_fails_the_request_after_the_timeout(tmp_path: Path) -> None:
    store = MeshBlobs(at_ipc(tmp_path), tmp_path / "cache", 10**9, timeout_s=0.6, check_interval_s=0.05)
    async with store.open():
        with pytest.raises(BlobError, match=f"{tmp_path}/router.ipc.blobs: .* got no answer for 1 s"):
            await store.get(ref_of(DATA))


def test_a_router_port_that_leaves_none_for_the_blob_server_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^router.address: expected a port up to 65435, .* got tcp://127.0.0.1:65436"
    ):
        load_config(environment={}, settings=["blobs=mesh:", "router.address=tcp://127.0.0.1:65436"])


def test_a_blob_server_port_that_is_taken_is_reported_before_anything_starts(tmp_path: Path) -> None:
    router = free_router()
    settings = [f"router.runtime_dir={tmp_path}", f"router.address={router}", "blobs=mesh:"]
    config = load_config(environment={}, settings=settings)
    taken = pytest.raises(AddressInUseError, match=f"^{blob_address(router)}: expected a free address")
    with socket.create_server(("127.0.0.1", int(router.rpartition(":")[2]) + 100)), taken:
        claim_runtime_dir(config).__enter__()


# ---------------------------------------------------------------------------------------------------- the cache


async def test_a_picture_is_fetched_once_per_host(tmp_path: Path) -> None:
    router = free_router()

    drawer, reader = store_at(router, tmp_path / "one"), store_at(router, tmp_path / "two")
    async with drawer.open(), reader.open():
        async with open_blob_server(router, tmp_path / "blobs"):
            ref = await put(drawer)
            assert await reader.get(ref) == DATA
        neighbour = store_at(router, tmp_path / "two")  # another process of the same host, after the server is gone
        for store in (drawer, reader, neighbour):
            assert await store.get(ref) == DATA


async def test_a_damaged_cached_picture_is_fetched_again(tmp_path: Path) -> None:
    router = free_router()

    store = store_at(router, tmp_path)
    async with open_blob_server(router, tmp_path / "blobs"), store.open():
        ref = await put(store)
        (copy,) = (tmp_path / "blob-cache").iterdir()
        copy.write_bytes(b"N" + DATA[1:])
        assert await store.get(ref) == DATA
        assert copy.read_bytes() == DATA


def test_a_cache_is_bounded_and_keeps_the_most_recently_used(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 100_000)
    pictures = [bytes([number]) * 10_000 for number in range(30)]
    for index, data in enumerate(pictures):
        cache.write(ref_of(data).digest, data)
        os.utime(tmp_path / ref_of(data).digest.removeprefix("sha256:"), (index, index))
        assert cache.read(ref_of(pictures[0]).digest, 10_000) == pictures[0]
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 110_000
    kept = [index for index, data in enumerate(pictures) if cache.read(ref_of(data).digest, 10_000) is not None]
    assert kept == [0, *range(21, 30)]


def test_a_cache_that_cannot_be_written_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = BlobCache(tmp_path / "cache", 100_000)
    cache.write(ref_of(DATA).digest, DATA)
    assert cache.read(ref_of(DATA).digest, len(DATA)) is None


def test_a_cache_that_cannot_evict_still_works(tmp_path: Path) -> None:
    (tmp_path / "a folder of somebody").mkdir()
    os.utime(tmp_path / "a folder of somebody", (0, 0))
    cache = BlobCache(tmp_path, 1)
    cache.write(ref_of(DATA).digest, DATA)
    assert cache.read(ref_of(DATA).digest, len(DATA)) == DATA


# ---------------------------------------------------------------------------------------------------- killed servers


async def test_a_server_that_stops_midway_and_returns_loses_nothing(tmp_path: Path) -> None:
    """With tasks, so that the server stops between any two of its steps; the next test kills a process."""

    store = store_at(at_ipc(tmp_path), tmp_path)
    async with store.open(), trio.open_nursery() as nursery:
        for data in MANY[:20]:
            nursery.start_soon(put, store, data)
        for count in (2, 6):
            async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"):
                await await_pictures(tmp_path / "blobs", count)
        async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"):
            for data in MANY[:20]:
                await put(store, data)
                assert await store.get(ref_of(data)) == data
        nursery.cancel_scope.cancel()


class CancelWithAnswer(trio.abc.Instrument):
    """Cancels a server as soon as a request is about to be answered, so that trio runs both in one pass."""

    def __init__(self, server: trio.CancelScope) -> None:
        self._server = server
        self._turns: Counter[trio.lowlevel.Task] = Counter()

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self._turns[task] += task.name.endswith("_BlobServer._answer")
        if self._turns[task] == 2:  # back from its thread
            self._server.cancel()


async def test_a_server_that_is_cancelled_while_it_answers_closes_its_socket_after_its_tasks(tmp_path: Path) -> None:
    store = store_at(at_ipc(tmp_path), tmp_path)
    async with store.open(), open_background() as clients:
        for number in range(12):  # trio takes the tasks of a pass in either order
            async with trio.open_nursery() as server:
                await server.start(serve_blobs, [blob_address(at_ipc(tmp_path))], tmp_path / "blobs")
                cancel = CancelWithAnswer(server.cancel_scope)
                trio.lowlevel.add_instrument(cancel)
                clients.start_soon(put, store, b"%d" % number * 1000)
            trio.lowlevel.remove_instrument(cancel)
            assert server.cancel_scope.cancelled_caught


@pytest.mark.slow
async def test_a_killed_server_is_restarted_and_no_picture_is_lost(tmp_path: Path) -> None:
    blobs = tmp_path / "data" / "blobs"
    settings = MeshConfig(data_dir=str(tmp_path / "data"), blobs="mesh:", supervisor=SupervisorConfig(backoff_s=0.01))
    with open_private_folder(settings) as config:
        async with open_supervisor(config) as supervisor:
            store = blob_store(config, supervisor.address)
            async with store.open(), trio.open_nursery() as nursery:
                for data in MANY:
                    nursery.start_soon(put, store, data)
                for count in (5, 20):
                    await await_pictures(blobs, count)
                    os.kill(_server_of(supervisor).pid, signal.SIGKILL)
            async with store.open():
                for data in MANY:
                    assert await store.get(ref_of(data)) == data
            assert _server_of(supervisor).restarts >= 1
            family = descendants(os.getpid())
    assert "gems-blobs" in family.values()
    assert not await_gone({*family})
    assert {ref_of(data).digest for data in MANY} == {f"sha256:{path.name}" for path in blobs.glob("sha256/??/??/*")}


def _server_of(supervisor: Supervisor) -> Child:
    return next(child for child in supervisor.children() if child.role == "blobs")
