"""A folder of pictures, on a local disk or one shared between hosts.

Many processes write to it at once without a lock, because a name can only ever stand for one content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import trio

from gems_actors.blobs.store import BlobStore, key_of, verify
from gems_actors.errors import BlobError, storage_fault
from gems_actors.files import os_reason
from gems_actors.locks import sync_folder
from protocol.identity import digest_of
from protocol.messages import ImageRef


class BlobFolder(BlobStore):
    """Stores pictures in a folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is created with the first picture."""
        self.folder = folder

    def path_of(self, digest: str) -> Path:
        """Return the path at which a picture is stored, or would be.

        Raises:
            BlobError: not a valid digest.
        """
        return self.folder / key_of(digest)

    def locate(self, digest: str) -> str:
        """Return the path of a picture, with a note if it does not exist."""
        path = self.path_of(digest)
        return str(path) if path.exists() else f"{path} (not here)"

    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified."""
        return await trio.to_thread.run_sync(self.read, ref.digest, ref.bytes)

    def get_from_thread(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified; avoids a round trip to the event loop, which costs more than the read."""
        return self.read(ref.digest, ref.bytes)

    def read(self, digest: str, size_bytes: int) -> bytes:
        """Return a picture's bytes, verified; blocks on the disk.

        Raises:
            BlobError: the picture is missing or not of that digest and size, so that it is lost; with `is_outage`, it
                cannot be read now, as by a process that has no descriptors left.
        """
        with self.open_file(digest, size_bytes) as file:
            data = file.read()
        verify(data, digest, size_bytes, str(self.path_of(digest)))
        return data

    @contextmanager
    def open_file(self, digest: str, size_bytes: int) -> Iterator[BufferedReader]:
        """Open the file of a picture that has the right size; the block must verify the bytes that it reads.

        Raises:
            BlobError: as `read`, also if the block cannot read the file.
        """
        path = self.path_of(digest)
        try:
            with path.open("rb") as file:
                if (got_bytes := os.fstat(file.fileno()).st_size) != size_bytes:
                    raise BlobError(f"{path}: expected {size_bytes} bytes, got {got_bytes}")
                yield file
        except OSError as error:
            failure = BlobError(f"{path}: expected a picture of {size_bytes} bytes: {os_reason(error)}")
            raise (failure if isinstance(error, FileNotFoundError) else storage_fault(failure)) from error

    def write(self, digest: str, data: bytes | memoryview) -> None:
        """Store bytes with that digest durably, unless they are stored already; blocks on the disk.

        A process that is killed meanwhile leaves at most one file in `partial/`.

        Raises:
            BlobError: the bytes cannot be written.
        """
        path = self.path_of(digest)
        with _explained(path, len(data)):
            if not _holds(path, digest, len(data)):
                self._write(path, data)
            _sync_folders(path)

    def has(self, digest: str, size_bytes: int) -> bool:
        """Return whether a picture is stored undamaged, and make it durable if so; blocks on the disk.

        Raises:
            BlobError: the picture exists but cannot be read.
        """
        path = self.path_of(digest)
        with _explained(path, size_bytes):
            is_stored = _holds(path, digest, size_bytes)
            if is_stored:
                _sync_folders(path)
        return is_stored

    async def _keep(self, data: bytes) -> str:
        return await trio.to_thread.run_sync(self._store, data)

    def _store(self, data: bytes) -> str:
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
        raise storage_fault(BlobError(f"{path}: expected to store {size_bytes} bytes: {os_reason(error)}")) from error


def _holds(path: Path, digest: str, size_bytes: int) -> bool:
    """Return whether the picture is stored undamaged."""
    try:
        return path.stat().st_size == size_bytes and digest_of(path.read_bytes()) == digest
    except FileNotFoundError:
        return False


def _sync_folders(path: Path) -> None:
    """Make the path to a picture durable, also if another process has just written it and not synced it yet."""
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        sync_folder(folder)
