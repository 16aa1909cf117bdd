"""Files that processes share: locks, which the kernel releases when their holder ends, and durable names."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockHeldError(Exception):
    """Another process holds the file; `holder` is its pid as text, `note` the note it left there."""

    def __init__(self, holder: str, note: str = "") -> None:
        super().__init__(f"held by process {holder}")
        self.holder = holder
        self.note = note


@contextmanager
def hold_lock(path: Path, note: str = "") -> Iterator[None]:
    """Lock a file until the block ends; file and folder are created if missing.

    Other processes read the holder's pid and a note in it, such as the holder's address.

    Raises:
        LockHeldError: another process holds it.
        OSError: it cannot be created.
    """
    path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)  # without the bits of the umask
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


@contextmanager
def hold_new_lock(path: Path) -> Iterator[None]:
    """Create a locked file in a folder of this process; other processes never see it unlocked while the block runs.

    Raises:
        OSError: it cannot be created.
    """
    unnamed = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    with hold_lock(unnamed):
        unnamed.rename(path)
        yield


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
