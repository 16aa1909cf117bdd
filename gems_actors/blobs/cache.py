"""Pictures of other hosts, kept for a while in a folder that all processes of a host share.

Nothing here is needed: what is lost, damaged or thrown out is fetched again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from gems_actors.blobs.store import hex_of, verify
from gems_actors.errors import BlobError

_LOOKS: Final = 32
"""A process looks at the folder's size whenever it has written a 32nd of what it may hold."""


class BlobCache:
    """A folder of about so many bytes, whose longest unused pictures go first; its methods wait for the disk."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Use `folder`, which is made with the first picture."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._unlooked_bytes = max_bytes

    def read(self, digest: str, size_bytes: int) -> bytes | None:
        """Return a picture's bytes, verified; None where it is not here, or is damaged."""
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
        """Keep a picture, unless the disk does not take it."""
        part = self._folder / f"{hex_of(digest)}.{os.urandom(8).hex()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(self._folder / hex_of(digest))
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return
        self._unlooked_bytes += len(data)
        if self._unlooked_bytes >= self._max_bytes / _LOOKS:
            self._unlooked_bytes = 0
            self._throw_out()

    def _throw_out(self) -> None:
        with suppress(OSError):  # another process throws out too, or nobody here may
            found = [(entry.stat(), entry.path) for entry in os.scandir(self._folder)]
            spare_bytes = self._max_bytes - sum(stat.st_size for stat, _ in found)
            for stat, path in sorted(found, key=lambda item: item[0].st_mtime_ns):
                if spare_bytes >= 0:
                    return
                Path(path).unlink()
                spare_bytes += stat.st_size
