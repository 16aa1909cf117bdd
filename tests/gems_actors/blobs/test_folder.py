"""A stored picture is complete or absent, whatever writes, dies or does damage meanwhile."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from gems_actors.blobs import BlobFolder, BlobStore, blob_store
from gems_actors.config import MeshConfig
from gems_actors.errors import BlobError
from protocol.identity import digest_of
from protocol.messages import ImageRef
from tests.gems_actors.blobs.pictures import DATA, files_below, put


async def test_a_picture_can_be_read_by_its_reference(tmp_path: Path) -> None:
    store = BlobFolder(tmp_path / "blobs")
    ref = await put(store)
    assert ref == ImageRef(digest=digest_of(DATA), media_type="image/png", bytes=len(DATA), width_px=32, height_px=16)
    assert await store.get(ref) == DATA
    hex_ = ref.digest.removeprefix("sha256:")
    assert files_below(store.folder) == [f"sha256/{hex_[:2]}/{hex_[2:4]}/{hex_}"]


@pytest.mark.parametrize("get", [BlobFolder.get_from_thread, BlobStore.get_from_thread])
async def test_a_thread_can_read_a_picture_too(tmp_path: Path, get: Callable[[BlobFolder, ImageRef], bytes]) -> None:
    store = BlobFolder(tmp_path)
    ref = await put(store)
    assert await trio.to_thread.run_sync(get, store, ref) == DATA
    store.path_of(ref.digest).unlink()
    with pytest.raises(BlobError):
        await trio.to_thread.run_sync(get, store, ref)


def test_all_roles_share_the_folder_in_data_dir_or_the_configured_one(tmp_path: Path) -> None:
    def folder_of(blobs: str | None) -> Path:
        store = blob_store(MeshConfig(data_dir=str(tmp_path), blobs=blobs), "ipc:///nowhere")
        assert isinstance(store, BlobFolder)
        return store.folder

    assert folder_of(None) == tmp_path / "blobs"
    assert folder_of("file:///shared/my%20blobs") == Path("/shared/my blobs")


async def test_putting_a_picture_twice_keeps_the_first_file(tmp_path: Path) -> None:
    store = BlobFolder(tmp_path)
    ref = await put(store)
    before = store.path_of(ref.digest).stat()
    assert await put(store) == ref
    after = store.path_of(ref.digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("damaged", "got"),
    [
        (DATA[:-1], f"expected {len(DATA)} bytes, got {len(DATA) - 1}"),
        (DATA + b"x", f"expected {len(DATA)} bytes, got {len(DATA) + 1}"),
        (b"N" + DATA[1:], "with the digest of the picture's name, got sha256:"),
        (b"", f"expected {len(DATA)} bytes, got 0"),
    ],
    ids=["cut", "longer", "flipped", "empty"],
)
async def test_a_damaged_file_is_reported_and_replaced_by_the_next_put(
    tmp_path: Path, damaged: bytes, got: str
) -> None:
    store = BlobFolder(tmp_path)
    ref = await put(store)
    store.path_of(ref.digest).write_bytes(damaged)
    with pytest.raises(BlobError, match=got):
        await store.get(ref)
    await put(store)
    assert await store.get(ref) == DATA


async def test_a_reference_with_another_size_is_refused(tmp_path: Path) -> None:
    store = BlobFolder(tmp_path)
    await put(store)
    ref = ImageRef(digest=digest_of(DATA), media_type="image/png", bytes=10**15, width_px=32, height_px=16)
    with pytest.raises(BlobError, match=f"expected {10**15} bytes, got {len(DATA)}"):
        await store.get(ref)


async def test_a_missing_picture_is_a_failure(tmp_path: Path) -> None:
    ref = ImageRef(digest=digest_of(b"lost"), media_type="image/png", bytes=4, width_px=32, height_px=16)
    with pytest.raises(BlobError, match="expected a picture of 4 bytes: No such file") as failure:
        await BlobFolder(tmp_path).get(ref)
    assert not failure.value.is_outage


async def test_a_picture_that_cannot_be_read_now_is_a_fault_of_the_store_and_not_lost(tmp_path: Path) -> None:
    store = BlobFolder(tmp_path)
    ref = await put(store)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        with pytest.raises(BlobError, match="Too many open files") as failure:
            store.read(ref.digest, ref.bytes)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert failure.value.is_outage


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 64, "sha256:" + "0" * 64 + "\n"]
)
def test_an_invalid_digest_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(BlobError, match="expected 'sha256:' and 64 hexadecimal digits"):
        BlobFolder(tmp_path).path_of(digest)


async def test_concurrent_puts_of_the_same_pictures_succeed(tmp_path: Path) -> None:
    store = BlobFolder(tmp_path)
    pictures = [bytes([number]) * 50_000 for number in range(4)]
    refs: list[ImageRef] = []

    async def put_and_get(data: bytes) -> None:
        ref = await store.put(data, media_type="image/png", width_px=32, height_px=16)
        assert await store.get(ref) == data
        refs.append(ref)

    async with trio.open_nursery() as nursery:
        for number in range(24):
            nursery.start_soon(put_and_get, pictures[number % 4])
    assert len(refs) == 24
    assert len(files_below(tmp_path)) == 4


async def test_a_full_disk_fails_the_put_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BlobError, match="expected to store 100000 bytes: No space left on device"):
        await put(BlobFolder(tmp_path))
    assert files_below(tmp_path) == []


async def test_a_folder_that_cannot_be_created_fails_the_put(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file")
    with pytest.raises(BlobError, match="expected to store 100000 bytes"):
        await put(BlobFolder(tmp_path / "blobs"))


WRITER = """
import os, sys, trio
from pathlib import Path
from gems_actors.blobs import BlobFolder

sync, calls = os.fsync, 0

def stop_at(descriptor):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        print("stopped", flush=True)
        sys.stdin.read()
    sync(descriptor)

os.fsync = stop_at

async def main():
    data = sys.argv[3].encode() * 5000
    await BlobFolder(Path(sys.argv[1])).put(data, media_type="image/png", width_px=32, height_px=16)

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("killed_at_sync", "is_stored"), [(1, False), (2, True)])
def test_a_killed_writer_leaves_no_partial_picture(tmp_path: Path, killed_at_sync: int, is_stored: bool) -> None:
    unit = "not really a picture"
    writer = subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(tmp_path), str(killed_at_sync), unit],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"stopped\n"
        writer.kill()
    store = BlobFolder(tmp_path)
    assert store.path_of(digest_of(DATA)).exists() == is_stored
    store.write(digest_of(DATA), DATA)
    assert store.read(digest_of(DATA), len(DATA)) == DATA
    left_over = [name for name in files_below(tmp_path) if name.startswith("partial/")]
    assert len(left_over) == (0 if is_stored else 1)
