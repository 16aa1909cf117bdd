"""The history of this user's draws and bulks on this host: one line when each begins and one when it ends.

It outlives meshes and memories: a draw without a data_dir leaves only its picture. The file is bounded, and appended to
under a lock, so that commands that end at the same moment both are listed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import Any, Final, Literal

import msgspec
import structlog
import trio

from gems_actors.app.run_registry import live_entries
from gems_actors.config import user_state_path
from gems_actors.errors import UsageError

MAX_BYTES: Final = 1024 * 1024
"""Size of the file above which its older half is dropped."""
_MAX_WHAT_CHARS: Final = 200
_MAX_NAMED: Final = 3

HistoryState = Literal["running", "done", "failed", "interrupted", "unavailable", "stopped"]

_log = structlog.get_logger()


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One draw or bulk."""

    run: str
    kind: Literal["draw", "bulk"]
    what: str
    """Prompt or input file."""
    where: str
    """Absolute path of the picture or of the output folder."""
    began_at: float = msgspec.field(default_factory=time)
    ended_at: float | None = None
    outcome: str = ""
    """`done`, `failed`, `interrupted` or `unavailable`; empty until the end."""
    done: int = 0
    """Pictures that exist."""
    total: int | None = None
    failed: int = 0


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """An entry, and what became of it."""

    entry: HistoryEntry
    state: HistoryState
    """`stopped` if its process ended without a word, as when it is killed."""


class Remembered:
    """The entry of a run in progress; made by `remembered`."""

    def __init__(self, entry: HistoryEntry) -> None:
        self.entry = entry

    def note(self, **changes: Any) -> None:
        """Change fields of the entry that is written at the end."""
        self.entry = msgspec.structs.replace(self.entry, **changes)


@contextmanager
def remembered(entry: HistoryEntry) -> Iterator[Remembered]:
    """List a run in the history from now on; the block may note how it ends."""
    memo = Remembered(msgspec.structs.replace(entry, what=entry.what[:_MAX_WHAT_CHARS]))
    _append(memo.entry)
    try:
        yield memo
    except (KeyboardInterrupt, trio.Cancelled):
        memo.note(outcome="interrupted")
        raise
    except BaseException:  # whatever ends it, the history says so, and the error goes on
        memo.note(outcome="failed")
        raise
    finally:
        memo.note(ended_at=time(), outcome=memo.entry.outcome or "interrupted")
        _append(memo.entry)


def read_history() -> list[HistoryRow]:
    """Return the runs of this user on this host, the latest first and each once."""
    latest: dict[str, HistoryEntry] = {}
    for entry in _entries():
        latest.pop(entry.run, None)  # the order is that of the last line of each run
        latest[entry.run] = entry
    running = {entry.run for entry in live_entries()}
    return [HistoryRow(entry=entry, state=_state_of(entry, running)) for entry in reversed(latest.values())]


def find_in_history(name: str, rows: Sequence[HistoryRow]) -> HistoryRow:
    """Return the run that a name means: its name or the beginning of it, its picture, or its output folder.

    Raises:
        UsageError: it means none, or several.
    """
    from gems_actors.app.bulk.folder_files import run_of  # loads what a bulk needs and a draw does not

    path = str(Path(name).absolute())
    names = {name, run_of(Path(name))}
    found = [row for row in rows if row.entry.run in names or row.entry.where == path]
    found = found[:1] or [row for row in rows if row.entry.run.startswith(name)]  # of a path, the latest
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"NAME: expected a run, a picture or a DIR that `gems history` lists, got {name!r}")
    some = [row.entry.run for row in found]
    more = f" and {len(some) - _MAX_NAMED} more" if len(some) > _MAX_NAMED else ""
    raise UsageError(f"NAME: expected one of {', '.join(some[:_MAX_NAMED])}{more}, got {name!r}")


def _state_of(entry: HistoryEntry, running: set[str | None]) -> HistoryState:
    if entry.run in running:
        return "running"
    match entry.outcome:
        case "done" | "failed" | "interrupted" | "unavailable" as outcome:
            return outcome
    return "stopped"


def _path() -> Path:
    return user_state_path() / "history.jsonl"


def _entries() -> Iterator[HistoryEntry]:
    try:
        lines = _path().read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(msgspec.DecodeError):  # torn by a kill, or of another version
            yield msgspec.json.decode(line, type=HistoryEntry)


def _append(entry: HistoryEntry) -> None:
    """Append a line, and drop the older half of a file that is too long."""
    path = _path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path) as file:
            os.write(file, msgspec.json.encode(entry) + b"\n")
            if os.fstat(file).st_size > MAX_BYTES:
                kept = path.read_bytes()[-MAX_BYTES // 2 :].partition(b"\n")[2]
                shorter = path.with_name(f".{path.name}.{os.getpid()}")
                shorter.write_bytes(kept)
                shorter.chmod(0o600)
                shorter.replace(path)
    except OSError as error:  # the run does not depend on being remembered
        _log.warning("run_not_remembered", reason=str(error))


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Yield the open file, locked; not one that another process has just replaced."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                yield file
                return
        finally:
            os.close(file)
