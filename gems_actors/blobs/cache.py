"""A cache of pictures from other hosts, in a folder that all processes of this host share.

It is never the only copy: pictures that are lost, damaged or evicted are fetched again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from gems_actors.blobs.store import hex_of, verify
from gems_actors.errors import BlobError

_CHECKS_PER_SIZE: Final = 32
"""A process checks the folder's size whenever it has written 1/32 of the maximum."""


class BlobCache:
    """An LRU cache in a folder of about `max_bytes`; its methods block on the disk."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Use `folder`, which is created with the first picture."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._unchecked_bytes = max_bytes

    def read(self, digest: str, size_bytes: int) -> bytes | None:
        """Return a picture's bytes, verified; None if it is not cached, or damaged."""
        path = self._folder / hex_of(digest)
        try:
            data = path.read_bytes()
            verify(data, digest, size_bytes, str(path))
            os.utime(path)
        except OSError:
            return None
        except BlobError:
            with suppress(OSError):
                path.unlink()
            return None
        return data

    def write(self, digest: str, data: bytes | memoryview) -> None:
        """Cache a picture; disk errors are ignored."""
        part = self._folder / f"{hex_of(digest)}.{os.urandom(8).hex()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(self._folder / hex_of(digest))
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return
        self._unchecked_bytes += len(data)
        if self._unchecked_bytes >= self._max_bytes / _CHECKS_PER_SIZE:
            self._unchecked_bytes = 0
            self._evict()

    def _evict(self) -> None:
        with suppress(OSError):  # another process evicts too, or the folder is not ours
            found = [(entry.stat(), entry.path) for entry in os.scandir(self._folder)]
            free_bytes = self._max_bytes - sum(stat.st_size for stat, _ in found)
            for stat, path in sorted(found, key=lambda item: item[0].st_mtime_ns):
                if free_bytes >= 0:
                    return
                Path(path).unlink()
                free_bytes += stat.st_size
