"""A job as a zip file, written while it is sent: it may be larger than memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from gems_actors.errors import BlobError
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.jobs.records import Job, description_of

_log = structlog.get_logger()


class _Outlet(io.RawIOBase):
    """Takes what is written, and gives it on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def write_archive(job: Job, draws: Draws, base: str, send: Callable[[bytes], Awaitable[None]]) -> None:
    """Send the zip file of a job: its pictures, and `job.json`, which describes them."""
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for picture in job.pictures:
            if picture.image is None:
                continue
            try:
                data = await draws.read_image(picture.image, job.picture_format, job.compression)
            except BlobError as error:  # the others are worth having
                _log.warning("picture_left_out", job=job.id, picture=picture.name, reason=str(error))
                continue
            archive.writestr(f"{picture.index:04d}-{picture.sample}.{job.picture_format}", data)
            await send(outlet.take())
        archive.writestr("job.json", msgspec.json.encode(description_of(job, base)))
    await send(outlet.take())
