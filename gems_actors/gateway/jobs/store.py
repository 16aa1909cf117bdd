"""The files of jobs: one each, private, so that a gateway that is replaced goes on with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from gems_actors.app.picture_files import OutputError, check_writable, write_whole
from gems_actors.errors import ConfigError, LogError
from gems_actors.gateway.jobs.records import Job

_NAME: Final = re.compile(r"job-[0-9a-f]{24}\.json")

_log = structlog.get_logger()


class JobStore:
    """A folder of jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Create the folder.

        Raises:
            ConfigError: it cannot be written to.
        """
        try:
            check_writable(self._folder)
        except OutputError as error:
            raise ConfigError(f"data_dir: {error}") from error

    def read_all(self) -> Iterator[Job]:
        """Yield the jobs, the oldest first; damaged files are left alone."""
        found = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if not _NAME.fullmatch(path.name):
                continue
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Job))
            except (OSError, msgspec.MsgspecError) as error:
                _log.error("job_unusable", path=str(path), reason=str(error))
        yield from sorted(found, key=lambda job: job.created_at)

    async def write(self, job: Job) -> None:
        """Write a job durably.

        Raises:
            LogError: it cannot be written.
        """
        data = msgspec.json.encode(job)
        try:
            await trio.to_thread.run_sync(write_whole, self._path(job), data)
        except OutputError as error:
            raise LogError(str(error)) from error

    def remove(self, job: Job) -> None:
        """Remove a job's file; its pictures stay in the mesh."""
        self._path(job).unlink(missing_ok=True)

    def _path(self, job: Job) -> Path:
        return self._folder / f"{job.id}.json"
