"""Bodies with pictures, which are large: their limits, and how many bytes of them are held at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from gems_actors.errors import OverloadedError
from gems_actors.gateway.api_errors import api_error_of

MAX_UPLOAD_BYTES: Final = 64 * 1024 * 1024
UPLOAD_TIMEOUT_S: Final = 120.0
_MAX_HELD_BYTES: Final = 512 * 1024 * 1024
_MAX_DECODED_AT_ONCE: Final = 2
"""Bodies whose pictures are decoded at once; a large picture takes 256 MiB meanwhile."""
_RETRY_AFTER_S: Final = 5.0


class UploadRoom:
    """The memory for bodies with pictures, shared by all clients; what a slow one has not sent takes none of it."""

    def __init__(self, max_bytes: int = _MAX_HELD_BYTES) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = 0
        self.decoding = trio.CapacityLimiter(_MAX_DECODED_AT_ONCE)
        """Limit for the threads that decode pictures."""

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Yield what takes room for each piece of a body as it arrives, until the block ends.

        A piece for which there is no room raises `ApiError` with status 429.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self.held_bytes + size > self._max_bytes:
                text = f"expected room for bodies with pictures, got {self.held_bytes // 2**20} MiB of them at once"
                raise api_error_of(OverloadedError(text, _RETRY_AFTER_S))
            taken += size
            self.held_bytes += size

        try:
            yield take
        finally:
            self.held_bytes -= taken
