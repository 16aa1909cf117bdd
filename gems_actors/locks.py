"""Files that processes share: locks, which the kernel releases when their holder ends, and durable names."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockHeldError(Exception):
    """Another process holds the file; `holder` is its pid in words, `note` what it left for us."""

    def __init__(self, holder: str, note: str = "") -> None:
        super().__init__(f"held by process {holder}")
        self.holder = holder
        self.note = note


@contextmanager
def hold_lock(path: Path, note: str = "") -> Iterator[None]:
    """Hold a file until the block ends; it is made, with its folder, where it is missing.

    It tells others the holder's pid and a note, such as where the holder can be asked.

    Raises:
        LockHeldError: another process holds it.
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder, _, left = os.pread(lock, 4096, 0).decode(errors="replace").partition("\n")
            raise LockHeldError(holder.strip() or "unknown", left.strip()) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n{note}".encode(), 0)
        yield
    finally:
        os.close(lock)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: those of files that were created, renamed or removed there.

    Raises:
        OSError: the folder cannot be opened or synced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
