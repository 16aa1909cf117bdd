"""Runs that end because a disk is full or fails: nobody mends it while they wait, and the same command continues."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gems_actors.app.picture_files import DISK_FAULTS, OutputError, text_of_path
from gems_actors.errors import BlobError, LogError, ResumableError, UsageError
from gems_actors.files import os_reason


@contextmanager
def resumable_after_disk_faults(folder: Path) -> Iterator[None]:
    """Turn what a disk of a run's folder, memory or pictures did to the block into a `ResumableError`."""
    try:
        yield
    except Exception as error:  # of whatever part of a run; everything but the fault of a disk is raised again
        if (text := _fault_in(error, folder)) is None:
            raise
        raise ResumableError(f"{text}; the same command continues") from error


def _fault_in(error: BaseException | None, folder: Path) -> str | None:
    """Return what a disk has done, if that is behind an error; what the command cannot begin with is its user's."""
    if isinstance(error, BaseExceptionGroup):
        return next((text for one in error.exceptions if (text := _fault_in(one, folder))), None)
    if error is None or isinstance(error, UsageError):
        return None
    if isinstance(error, OutputError) and error.is_of_disk:
        return str(error)
    if isinstance(error, LogError | BlobError) and error.is_outage:
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK_FAULTS:
        where = text_of_path(folder) if error.filename is None else os.fsdecode(error.filename)
        return f"{where}: expected a disk with room that works, got: {os_reason(error)}"
    return _fault_in(error.__cause__, folder)
