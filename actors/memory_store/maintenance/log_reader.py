"""Reads a log without its lock: opens its files, queries its index, and recognises an unfinished end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import apsw

from actors.memory_store.index_db import open_reader
from actors.memory_store.log import Damage, Identity, LogFile, Tail, open_log_file
from actors.memory_store.log_folder import INDEX_NAME, LIVE, LOG_NAME, open_archives
from gems_actors.errors import ConfigError


@contextmanager
def open_files(folder: Path) -> Iterator[tuple[LogFile, dict[int, LogFile]]]:
    """Open a log and its archives for reading, up to where they end now.

    Raises:
        ConfigError: the folder has no log, or one of its files is not a memory log.
    """
    check_has_log(folder)
    with ExitStack() as stack:
        live = open_log_file(folder / LOG_NAME)
        stack.callback(live.close)
        yield live, open_archives(stack, folder, live.identity.id)


def check_has_log(folder: Path) -> None:
    """Check that a folder has a log.

    Raises:
        ConfigError: it has none.
    """
    if not (folder / LOG_NAME).exists():
        raise ConfigError(f"{folder}: expected a memory log, got none")


def is_unfinished(number: int, found: Damage | Tail, last_indexed: int) -> bool:
    """Return whether it is a commit at the end of the live file that was never acknowledged."""
    return number == LIVE and isinstance(found, Tail) and found.after >= last_indexed


def index_position(folder: Path) -> tuple[Identity, int] | None:
    """Return the live file that the index belongs to and the last sequence in it, or None if it cannot be read."""
    path = folder / INDEX_NAME
    if not path.exists():
        return None
    try:
        with closing(open_reader(path)) as connection:
            ((id_, generation, last),) = connection.execute("SELECT log_id, generation, sequence FROM position")
    except (apsw.Error, ValueError):
        return None
    return Identity(id_, generation), last


def last_indexed(folder: Path) -> int:
    """Return the last sequence in the index, or 0 if the index cannot be read."""
    position = index_position(folder)
    return position[1] if position else 0


def indexed_trajectories(folder: Path) -> Iterator[str]:
    """Yield the trajectories in the index; none if the index cannot be read."""
    with suppress(apsw.Error, ValueError), closing(open_reader(folder / INDEX_NAME)) as connection:
        for (id_,) in connection.execute("SELECT id FROM trajectories"):
            yield id_


def indexed_archives(folder: Path) -> list[int]:
    """Return the numbers of the archives in the index; none if the index cannot be read."""
    try:
        with closing(open_reader(folder / INDEX_NAME)) as connection:
            return [number for (number,) in connection.execute("SELECT number FROM archives")]
    except apsw.Error:
        return []
