"""Keeps finished pictures in the folder of a bulk, those that finish together in one turn through a thread.

Another thread, its wake-ups and an fsync of its own cost more than writing a small picture. Waiting for a thirty-second
of the tasks in flight delays each by 3 % of the time that it takes, whatever the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from gems_actors.app.bulk.folder import BulkFolder
from gems_actors.app.bulk.rows import DrawnTask, Row
from gems_actors.app.picture_files import OutputError
from gems_actors.errors import BlobError
from protocol.messages import ImageRef

_SHARE: Final = 32
"""One picture waits for others for each so many tasks in flight."""
_MAX_TOGETHER: Final = 16
_MAX_WAIT_S: Final = 0.1


class _Batch:
    """Pictures that are kept together."""

    def __init__(self) -> None:
        self.drawn: list[DrawnTask] = []
        self.is_full, self.has_ended = trio.Event(), trio.Event()
        self.outcomes: list[Row | OutputError | BlobError] = []
        """One for each picture; none if all failed."""
        self.failure: Exception | None = None


class PictureKeeper:
    """Keeps pictures for any number of tasks; several threads may be at it, each with its own pictures."""

    def __init__(
        self, folder: BulkFolder, read: Callable[[ImageRef], bytes], count_in_flight: Callable[[], int]
    ) -> None:
        """Keep pictures in `folder`; `read` returns the bytes of an image, in a thread."""
        self._folder, self._read, self._count_in_flight = folder, read, count_in_flight
        self._open: _Batch | None = None

    async def keep(self, drawn: DrawnTask) -> Row:
        """Return the row of a picture once both are in the folder; cannot be cancelled.

        Raises:
            PictureError: an image cannot be decoded.
            OutputError: a file cannot be written.
            BlobError: an image cannot be read.
        """
        is_first = self._open is None
        batch = self._open = self._open or _Batch()
        place = len(batch.drawn)
        batch.drawn.append(drawn)
        if len(batch.drawn) >= min(_MAX_TOGETHER, self._count_in_flight() // _SHARE):
            self._open = None
            batch.is_full.set()
        with trio.CancelScope(shield=True):
            if is_first:
                await self._keep_all(batch)
            await batch.has_ended.wait()
        if batch.failure is not None:
            raise batch.failure
        match batch.outcomes[place]:
            case Row() as row:
                return row
            case error:
                raise error

    async def _keep_all(self, batch: _Batch) -> None:
        with trio.move_on_after(_MAX_WAIT_S):
            await batch.is_full.wait()
        if self._open is batch:
            self._open = None
        keep = partial(self._folder.keep_pictures, batch.drawn, self._read)
        try:
            batch.outcomes = await trio.to_thread.run_sync(keep)
        except Exception as error:  # raised by each `keep`
            batch.failure = error
        finally:
            batch.has_ended.set()
