"""A folder of pictures, on a local disk or on one that hosts share.

Many processes write the same folder at once and need no lock, since a name can only ever stand for one content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from gems_actors.blobs.store import BlobStore, key_of, verify
from gems_actors.errors import BlobError
from gems_actors.locks import sync_folder
from protocol.identity import digest_of
from protocol.messages import ImageRef


class BlobFolder(BlobStore):
    """Keeps pictures in a folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made with the first picture."""
        self.folder = folder

    def path_of(self, digest: str) -> Path:
        """Return where the picture of a digest is, or would be.

        Raises:
            BlobError: it is no digest.
        """
        return self.folder / key_of(digest)

    def place_of(self, digest: str) -> str:
        """Return the path of a picture; one that is not there says so."""
        path = self.path_of(digest)
        return str(path) if path.exists() else f"{path} (not here)"

    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified."""
        return await trio.to_thread.run_sync(self.read, ref.digest, ref.bytes)

    def get_from_thread(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified, with no turn of the loop, which would cost more than to read them."""
        return self.read(ref.digest, ref.bytes)

    def read(self, digest: str, size_bytes: int) -> bytes:
        """Return a picture's bytes, verified; waits for the disk.

        Raises:
            BlobError: it is missing, unreadable, or not of that digest and size.
        """
        path = self.path_of(digest)
        try:
            with path.open("rb") as file:
                if (came_bytes := os.fstat(file.fileno()).st_size) != size_bytes:
                    raise BlobError(f"{path}: expected {size_bytes} bytes, got {came_bytes}")
                data = file.read()
        except OSError as error:
            raise BlobError(f"{path}: expected a picture of {size_bytes} bytes: {error.strerror}") from error
        verify(data, digest, size_bytes, str(path))
        return data

    def write(self, digest: str, data: bytes | memoryview) -> None:
        """Store bytes of that digest durably, unless they are there; waits for the disk.

        A process that is killed meanwhile leaves at most one file in `partial/`.

        Raises:
            BlobError: they cannot be written.
        """
        path = self.path_of(digest)
        with _explained(path, len(data)):
            if not _holds(path, digest, len(data)):
                self._write(path, data)
            _sync_folders(path)

    def has(self, digest: str, size_bytes: int) -> bool:
        """Return whether a picture is there, whole, and durable from now on; waits for the disk.

        Raises:
            BlobError: it is there and cannot be read.
        """
        path = self.path_of(digest)
        with _explained(path, size_bytes):
            is_there = _holds(path, digest, size_bytes)
            if is_there:
                _sync_folders(path)
        return is_there

    async def _keep(self, data: bytes) -> str:
        return await trio.to_thread.run_sync(self._keep_now, data)

    def _keep_now(self, data: bytes) -> str:
        digest = digest_of(data)
        self.write(digest, data)
        return digest

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        partial = self.folder / "partial"
        partial.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = partial / f"{path.name}.{os.urandom(8).hex()}"
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def _explained(path: Path, size_bytes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BlobError(f"{path}: expected to store {size_bytes} bytes: {error.strerror}") from error


def _holds(path: Path, digest: str, size_bytes: int) -> bool:
    """Return whether the picture is there, whole and undamaged."""
    try:
        return path.stat().st_size == size_bytes and digest_of(path.read_bytes()) == digest
    except FileNotFoundError:
        return False


def _sync_folders(path: Path) -> None:
    """Have the way to a picture on disk, also where another process made it a moment ago and has not synced it."""
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        sync_folder(folder)
