"""What this user's commands on this host are doing now, so that one can find what another has under way.

Each puts a small file into one folder and holds a lock on it while it lives: what a killed one leaves is known by its
lock, which the kernel let go of, and not by a number that another process may have by now.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time

import msgspec
import structlog

from gems_actors.config import user_runtime_path

_MAX_WHAT_CHARS = 200

_log = structlog.get_logger()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh that was started here, or a run that goes on in one."""

    address: str
    """Of the router."""
    run: str | None = None
    """None for a mesh that waits for work."""
    what: str = ""
    total: int | None = None
    """Tasks, where that is known."""
    folder: str | None = None
    """That a bulk fills."""
    began_at: float = msgspec.field(default_factory=time)
    """Seconds since 1970."""


@contextmanager
def listed(entry: Entry) -> Iterator[None]:
    """Let other commands find a run or a mesh while the block runs."""
    try:
        path, file = _write_entry(msgspec.structs.replace(entry, what=entry.what[:_MAX_WHAT_CHARS]))
    except OSError as error:  # it can be done all the same
        _log.warning("run_not_listed", reason=str(error))
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _write_entry(entry: Entry) -> tuple[Path, int]:
    """Return the file of an entry and its descriptor, which holds the lock."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is another user's")
    path = folder / f"{os.getpid()}-{os.urandom(4).hex()}.json"
    unnamed = path.with_name(f".{path.name}")
    file = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.write(file, msgspec.json.encode(entry))
        unnamed.rename(path)  # whoever sees it sees it whole and locked
    except OSError:
        unnamed.unlink()
        os.close(file)
        raise
    return path, file


def living() -> list[Entry]:
    """Return what goes on now, the oldest first, and remove what those left that were killed."""
    found = []
    for path in _folder().glob("[0-9]*.json"):
        with suppress(OSError, msgspec.DecodeError):  # it ends just now, or is of another version
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                path.unlink()
            except BlockingIOError:
                found.append(msgspec.json.decode(path.read_bytes(), type=Entry))
            finally:
                os.close(file)
    return sorted(found, key=lambda entry: entry.began_at)


def _folder() -> Path:
    return user_runtime_path() / "runs"
