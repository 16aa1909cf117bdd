"""Pictures by what they are: a folder of files, each named by the SHA-256 of its bytes.

Many processes write the same folder at once and need no lock, since a name can only ever stand for one content. This
module does not know what a picture is of, or whether it is one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import trio

from gems_actors.config import MeshConfig
from gems_actors.errors import BlobError
from protocol.identity import digest_of
from protocol.messages import ImageRef

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def blob_store(config: MeshConfig) -> BlobStore:
    """Return the store that all roles of a mesh share."""
    return BlobStore(config.data_path / "blobs")


class BlobStore:
    """Keeps pictures in a folder; safe to use from many tasks and many processes at once."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made with the first picture."""
        self.folder = folder

    def path_of(self, digest: str) -> Path:
        """Return where the picture of a digest is, or would be.

        Raises:
            BlobError: it is no digest; a picture's name comes from other processes and must not leave the folder.
        """
        if (match := _DIGEST.fullmatch(digest)) is None:
            raise BlobError(f"expected 'sha256:' and 64 hexadecimal digits, came {digest[:100]!r}")
        return self.folder / "sha256" / match[1][:2] / match[1][2:4] / match[1]

    async def put(self, data: bytes, *, media_type: str, width_px: int, height_px: int) -> ImageRef:
        """Store a picture and return its reference; when this returns, the picture outlives a power cut.

        A picture that is there already is kept, a damaged one replaced. A process that is killed meanwhile leaves the
        picture whole or not at all, and at most one file in `partial/`. Once begun, the writing is not cancelled.

        Raises:
            BlobError: it cannot be written.
        """
        digest = await trio.to_thread.run_sync(self._put, data)
        return ImageRef(digest=digest, media_type=media_type, bytes=len(data), width_px=width_px, height_px=height_px)

    async def get(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified.

        Raises:
            BlobError: it is missing, unreadable, or not what its reference says.
        """
        return await trio.to_thread.run_sync(self.read, ref)

    def read(self, ref: ImageRef) -> bytes:
        """Return a picture's bytes, verified; for callers without a loop.

        Raises:
            BlobError: it is missing, unreadable, or not what its reference says.
        """
        path = self.path_of(ref.digest)
        try:
            with path.open("rb") as file:
                if (size_bytes := os.fstat(file.fileno()).st_size) != ref.bytes:
                    raise BlobError(f"{path}: expected {ref.bytes} bytes, came {size_bytes}")
                data = file.read()
        except OSError as error:
            raise BlobError(f"{path}: expected a picture of {ref.bytes} bytes: {error.strerror}") from error
        if (digest := digest_of(data)) != ref.digest:
            raise BlobError(f"{path}: expected bytes with the digest of the file's name, came {digest}")
        return data

    def _put(self, data: bytes) -> str:
        digest = digest_of(data)
        path = self.path_of(digest)
        try:
            if not _holds(path, digest, len(data)):
                self._write(path, data)
            for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
                _sync_folder(folder)  # also where another process made the entry a moment ago and has not synced it
        except OSError as error:
            raise BlobError(f"{path}: expected to store {len(data)} bytes: {error.strerror}") from error
        return digest

    def _write(self, path: Path, data: bytes) -> None:
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


def _holds(path: Path, digest: str, size_bytes: int) -> bool:
    """Return whether the picture is there, whole and undamaged."""
    try:
        return path.stat().st_size == size_bytes and digest_of(path.read_bytes()) == digest
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
