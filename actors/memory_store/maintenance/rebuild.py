"""Rebuilding the index of a log from its records."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from actors.memory_store.index_db import remove_index
from actors.memory_store.log_folder import INDEX_NAME, claim_folder
from actors.memory_store.maintenance.log_reader import check_has_log
from actors.memory_store.store import open_memory_store


def rebuild_index(folder: Path) -> int:
    """Rebuild the index of a log and return the number of records in it.

    Raises:
        ConfigError: the folder cannot be used, another process holds it, or the log is damaged.
    """
    check_has_log(folder)
    with ExitStack() as stack:
        claim_folder(stack, folder)
        remove_index(folder / INDEX_NAME)
    with open_memory_store(folder) as store:
        return store.last
