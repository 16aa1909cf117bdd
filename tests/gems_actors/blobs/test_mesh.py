"""Pictures that travel: whole, once, verified at both ends, and again where a server dies over them."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import trio
import trio.testing
import zmq

from gems_actors.blobs import BlobFolder, blob_store
from gems_actors.blobs import mesh as blobs_mesh
from gems_actors.blobs.cache import BlobCache
from gems_actors.blobs.mesh import MeshBlobs
from gems_actors.config import MeshConfig, SupervisorConfig, load_config
from gems_actors.errors import AddressInUseError, BlobError, ConfigError
from gems_actors.supervision.runtime_dir import claim_runtime_dir, open_private_folder
from gems_actors.supervision.supervisor import Supervisor, open_supervisor
from protocol.blobs import BlobHeader, BlobKind, blob_address, pack_blob, unpack_blob
from protocol.limits import MAX_BLOB_BYTES
from tests.gems_actors.blobs.pictures import (
    DATA,
    files_below,
    free_router,
    open_blob_server,
    put,
    ref_of,
    until_some,
)
from tests.gems_actors.meshes import play
from tests.processes import await_gone, descendants

MANY = [bytes([number]) + os.urandom(500_000) for number in range(32)]


def store_at(router: str, folder: Path, cache_bytes: int = 10**9) -> MeshBlobs:
    return MeshBlobs(router, folder / "blob-cache", cache_bytes)


def at_ipc(folder: Path) -> str:
    return f"ipc://{folder}/router.ipc"


def test_the_setting_mesh_names_the_server_beside_the_router(tmp_path: Path) -> None:
    several = "tcp://gpu-box:27960,tcp://gpu-box:27961,tcp://another:27960"
    store = blob_store(MeshConfig(data_dir=str(tmp_path), blobs="mesh:"), several)
    assert store.place_of(ref_of(DATA).digest) == f"tcp://gpu-box:28060 {ref_of(DATA).digest}"


def test_what_is_put_is_had_back_and_lies_in_the_server_s_folder(tmp_path: Path) -> None:
    async def scene() -> None:
        store = store_at(at_ipc(tmp_path), tmp_path)
        async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"), store.open():
            ref = await put(store)
            assert ref == ref_of(DATA)
            assert await store.get(ref) == DATA
        assert BlobFolder(tmp_path / "blobs").read(ref.digest, ref.bytes) == DATA
        assert not (tmp_path / "blob-cache").exists()  # it is the same host

    play(scene)


def test_putting_a_picture_twice_keeps_the_first_file_and_sends_no_bytes(tmp_path: Path) -> None:
    async def scene() -> None:
        store = store_at(at_ipc(tmp_path), tmp_path)
        async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"), store.open():
            path = BlobFolder(tmp_path / "blobs").path_of((await put(store)).digest)
            before = path.stat()
            (tmp_path / "blobs/partial").rmdir()
            (tmp_path / "blobs/partial").write_text("in the way of every write")
            await put(store)
            assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
            with pytest.raises(BlobError, match="expected to store 3 bytes: File exists"):
                await put(store, b"new")

    play(scene)


@pytest.mark.parametrize("damaged", [DATA[:-1], b"N" + DATA[1:]], ids=["cut", "flipped"])
def test_a_damaged_file_of_the_server_is_named_never_sent_and_put_again_mends_it(
    tmp_path: Path, damaged: bytes
) -> None:
    async def scene() -> None:
        store = store_at(at_ipc(tmp_path), tmp_path)
        async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"), store.open():
            ref = await put(store)
            path = BlobFolder(tmp_path / "blobs").path_of(ref.digest)
            path.write_bytes(damaged)
            with pytest.raises(BlobError, match=f"^{path}: expected .* got "):
                await store.get(ref)
            await put(store)
            assert await store.get(ref) == DATA

    play(scene)


def test_a_missing_picture_is_said_with_the_server_s_path(tmp_path: Path) -> None:
    async def scene() -> None:
        store = store_at(at_ipc(tmp_path), tmp_path)
        async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"), store.open():
            with pytest.raises(BlobError, match=f"^{tmp_path}/blobs/sha256/.*: expected a picture of 4 bytes: No such"):
                await store.get(ref_of(b"lost"))

    play(scene)


def test_a_picture_that_is_too_large_does_not_travel(tmp_path: Path) -> None:
    async def scene() -> None:
        store = store_at(at_ipc(tmp_path), tmp_path)
        async with store.open():
            with pytest.raises(BlobError, match=f"at most {MAX_BLOB_BYTES} bytes, got {MAX_BLOB_BYTES + 1}"):
                await put(store, bytes(MAX_BLOB_BYTES + 1))

    play(scene)


def test_bytes_of_another_digest_and_frames_that_are_none_are_refused(tmp_path: Path) -> None:
    put_frame = pack_blob(BlobHeader(BlobKind.PUT, 5, 3, bytes(32)), b"abc")
    frames = {
        put_frame: "expected bytes of the digest that they are to have, got sha256:",
        b"GB\x09" + put_frame[3:]: "expected version 1 of the blobs' wire, got 9",
        pack_blob(BlobHeader(BlobKind.KEPT, 5, 3, bytes(32))): "expected HAS, PUT, GET or ARE_YOU_AT_IT, got KEPT",
        b"hello": "expected a header of 56 bytes",
    }

    def ask(peer: zmq.Socket[bytes], frame: bytes) -> tuple[BlobHeader, str]:
        peer.send(frame)
        header, said = unpack_blob(peer.recv())
        return header, bytes(said).decode()

    async def scene() -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
            peer.connect(blob_address(at_ipc(tmp_path)))
            async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"):
                for frame, words in frames.items():
                    header, said = await trio.to_thread.run_sync(ask, peer, frame)
                    assert (header.kind, header.id) == (BlobKind.FAILED, 0 if frame == b"hello" else 5)
                    assert words in said
        assert files_below(tmp_path / "blobs") == []

    play(scene)


def test_what_is_asked_before_the_server_is_there_is_answered_once_it_is(tmp_path: Path) -> None:
    async def scene() -> None:
        store = store_at(at_ipc(tmp_path), tmp_path)
        async with store.open(), trio.open_nursery() as nursery:
            nursery.start_soon(put, store)
            await trio.testing.wait_all_tasks_blocked(0.01)
            async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"):
                assert await store.get(await put(store)) == DATA

    play(scene)


def test_nobody_to_answer_is_said_once_patience_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_mesh, "_PATIENCE_S", 0.6)
    monkeypatch.setattr(blobs_mesh, "_LOOK_AGAIN_S", 0.05)

    async def scene() -> None:
        store = store_at(at_ipc(tmp_path), tmp_path)
        async with store.open():
            with pytest.raises(BlobError, match=f"{tmp_path}/router.ipc.blobs: .* nobody answered for 1 s"):
                await store.get(ref_of(DATA))

    play(scene)


def test_an_address_that_none_can_follow_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^router.address: expected a port up to 65435, .* got tcp://127.0.0.1:65436"
    ):
        load_config(environment={}, settings=["blobs=mesh:", "router.address=tcp://127.0.0.1:65436"])


def test_a_port_of_pictures_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    router = free_router()
    settings = [f"router.runtime_dir={tmp_path}", f"router.address={router}", "blobs=mesh:"]
    config = load_config(environment={}, settings=settings)
    taken = pytest.raises(AddressInUseError, match=f"^{blob_address(router)}: expected a free address")
    with socket.create_server(("127.0.0.1", int(router.rpartition(":")[2]) + 100)), taken:
        claim_runtime_dir(config).__enter__()


# ---------------------------------------------------------------------------------------------------- the cache


def test_a_picture_crosses_the_network_once_a_host(tmp_path: Path) -> None:
    router = free_router()

    async def scene() -> None:
        drawer, reader = store_at(router, tmp_path / "one"), store_at(router, tmp_path / "two")
        async with drawer.open(), reader.open():
            async with open_blob_server(router, tmp_path / "blobs"):
                ref = await put(drawer)
                assert await reader.get(ref) == DATA
            neighbour = store_at(router, tmp_path / "two")  # another process of the same host; nobody serves any more
            for store in (drawer, reader, neighbour):
                assert await store.get(ref) == DATA

    play(scene)


def test_a_damaged_copy_is_fetched_again(tmp_path: Path) -> None:
    router = free_router()

    async def scene() -> None:
        store = store_at(router, tmp_path)
        async with open_blob_server(router, tmp_path / "blobs"), store.open():
            ref = await put(store)
            (copy,) = (tmp_path / "blob-cache").iterdir()
            copy.write_bytes(b"N" + DATA[1:])
            assert await store.get(ref) == DATA
            assert copy.read_bytes() == DATA

    play(scene)


def test_a_cache_is_bounded_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 100_000)
    pictures = [bytes([number]) * 10_000 for number in range(30)]
    for place, data in enumerate(pictures):
        cache.write(ref_of(data).digest, data)
        os.utime(tmp_path / ref_of(data).digest.removeprefix("sha256:"), (place, place))
        assert cache.read(ref_of(pictures[0]).digest, 10_000) == pictures[0]
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 110_000
    kept = [place for place, data in enumerate(pictures) if cache.read(ref_of(data).digest, 10_000) is not None]
    assert kept == [0, *range(21, 30)]


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = BlobCache(tmp_path / "cache", 100_000)
    cache.write(ref_of(DATA).digest, DATA)
    assert cache.read(ref_of(DATA).digest, len(DATA)) is None


def test_a_cache_that_cannot_be_cleared_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "a folder of somebody").mkdir()
    os.utime(tmp_path / "a folder of somebody", (0, 0))
    cache = BlobCache(tmp_path, 1)
    cache.write(ref_of(DATA).digest, DATA)
    assert cache.read(ref_of(DATA).digest, len(DATA)) == DATA


# ---------------------------------------------------------------------------------------------------- killed servers


def test_a_server_that_is_gone_in_the_middle_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    """As tasks, so that the server goes between any two of its steps; the next test kills a process."""

    async def scene() -> None:
        store = store_at(at_ipc(tmp_path), tmp_path)
        async with store.open(), trio.open_nursery() as nursery:
            for data in MANY[:20]:
                nursery.start_soon(put, store, data)
            for count in (2, 6):
                async with open_blob_server(at_ipc(tmp_path), tmp_path / "blobs"):
                    await until_some(tmp_path / "blobs", count)
            await nursery.start(_serve, tmp_path)
            for data in MANY[:20]:
                await put(store, data)
                assert await store.get(ref_of(data)) == data
            nursery.cancel_scope.cancel()

    async def _serve(folder: Path, task_status: trio.TaskStatus[None]) -> None:
        async with open_blob_server(at_ipc(folder), folder / "blobs"):
            task_status.started()
            await trio.sleep_forever()

    play(scene)


@pytest.mark.slow
def test_a_server_killed_in_the_middle_of_many_pictures_is_replaced_and_none_is_lost(tmp_path: Path) -> None:
    blobs = tmp_path / "data" / "blobs"

    def server_of(supervisor: Supervisor) -> int:
        return next(child.pid for child in supervisor.children() if child.role == "blobs")

    async def scene(config: MeshConfig) -> None:
        with trio.fail_after(60):
            await kill_twice(config)

    async def kill_twice(config: MeshConfig) -> None:
        async with open_supervisor(config) as supervisor:
            store = blob_store(config, supervisor.address)
            async with store.open(), trio.open_nursery() as nursery:
                for data in MANY:
                    nursery.start_soon(put, store, data)
                for count in (5, 20):
                    await until_some(blobs, count)
                    os.kill(server_of(supervisor), signal.SIGKILL)
            async with store.open():
                for data in MANY:
                    assert await store.get(ref_of(data)) == data
            assert next(child.restarts for child in supervisor.children() if child.role == "blobs") >= 1
            family.update(descendants(os.getpid()))

    family: dict[int, str] = {}
    settings = MeshConfig(data_dir=str(tmp_path / "data"), blobs="mesh:", supervisor=SupervisorConfig(backoff_s=0.01))
    with open_private_folder(settings) as config:
        trio.run(scene, config)
    assert "gems-blobs" in family.values()
    assert not await_gone({*family})
    assert {ref_of(data).digest for data in MANY} == {f"sha256:{path.name}" for path in blobs.glob("sha256/??/??/*")}
