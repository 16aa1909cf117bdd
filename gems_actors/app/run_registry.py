"""The registry of what this user's commands on this host are running, so that one command can find another's run.

Each command writes a small file into one folder and holds a lock on it while it runs. The kernel releases the lock of a
killed command, so its stale file is recognised; a pid would not do, because another process may have it by then.
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


class RegistryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh that was started on this host, or a run that is in progress in one."""

    address: str
    run: str | None = None
    """Name of the run; None for a mesh that waits for work."""
    what: str = ""
    """Prompt or input file of the run, cut to 200 characters."""
    total: int | None = None
    folder: str | None = None
    """Output folder of a bulk."""
    began_at: float = msgspec.field(default_factory=time)


@contextmanager
def registered(entry: RegistryEntry) -> Iterator[None]:
    """Let other commands find a run or a mesh while the block runs."""
    try:
        path, file = _write_entry(msgspec.structs.replace(entry, what=entry.what[:_MAX_WHAT_CHARS]))
    except OSError as error:  # the run does not depend on being found
        _log.warning("run_not_registered", reason=str(error))
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _write_entry(entry: RegistryEntry) -> tuple[Path, int]:
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
        unnamed.rename(path)  # a reader sees the entry only once it is complete and locked
    except OSError:
        unnamed.unlink()
        os.close(file)
        raise
    return path, file


def live_entries() -> list[RegistryEntry]:
    """Return the entries of all running commands, oldest first, and remove the files of killed ones."""
    found = []
    for path in _folder().glob("[0-9]*.json"):
        with suppress(OSError, msgspec.DecodeError):  # the command ends right now, or is of another version
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                path.unlink()
            except BlockingIOError:
                found.append(msgspec.json.decode(path.read_bytes(), type=RegistryEntry))
            finally:
                os.close(file)
    return sorted(found, key=lambda entry: entry.began_at)


def _folder() -> Path:
    return user_runtime_path() / "runs"
