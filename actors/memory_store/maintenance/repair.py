"""Continuing a damaged log with everything in it that is intact."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple

from actors.memory_store import log_folder
from actors.memory_store.index_db import remove_index
from actors.memory_store.log import Damage, Identity, LogEntry, LogFile, Tail, open_log_file
from actors.memory_store.log_folder import DAMAGED_FOLDER, INDEX_NAME, LIVE, LOG_NAME
from actors.memory_store.maintenance.check import RecordAudit
from actors.memory_store.maintenance.log_reader import check_has_log, index_position, is_unfinished, last_indexed
from actors.memory_store.maintenance.rewriter import LogRewriter, check_room, rebuild_index
from gems_actors.errors import ConfigError
from gems_actors.locks import sync_folder
from protocol.codec import encode_body
from protocol.messages import RecordsLost


class Repaired(NamedTuple):
    """A log that continues without its damage, or would in a dry run."""

    set_aside: Path | None
    """Where the damaged file is now; None if there was no damage."""
    records: int
    """Number of intact records."""
    lost: list[str]


def repair_log(folder: Path, *, is_dry_run: bool) -> Repaired:
    """Set a damaged live file aside, unchanged, and continue with a new one that has all intact records.

    The new file records what was lost.

    Raises:
        ConfigError: the folder cannot be used, another process holds it, it has no log, or the disk is too full.
    """
    check_has_log(folder)
    with ExitStack() as stack:
        log_folder.claim_folder(stack, folder)
        live = _open_damaged(folder)
        stack.callback(live.close)
        archives = log_folder.open_archives(stack, folder, live.identity.id)
        indexed = last_indexed(folder)
        audit = RecordAudit([])
        damages: list[Damage | Tail] = []
        for number, found in log_folder.merge_files(archives, live):
            if isinstance(found, LogEntry):
                audit.add(live if number == LIVE else archives[number], found)
            elif number == LIVE and not is_unfinished(number, found, indexed):
                damages.append(found)
        audit.finish(indexed, live)
        if not damages and not audit.gaps and _has_intact_header(live.path):
            return Repaired(None, audit.records, [])
        lost = [f"records {first} to {last}" if last > first else f"record {first}" for first, last in audit.gaps]
        aside = folder / DAMAGED_FOLDER / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(2).hex()}.log"
        if is_dry_run:
            return Repaired(aside, audit.records, lost)
        check_room(folder, live.end)
        _replace_live(live, aside, audit, max(audit.last, indexed), damages)
        remove_index(folder / INDEX_NAME)
    rebuild_index(folder)
    return Repaired(aside, audit.records, lost)


def _replace_live(live: LogFile, aside: Path, audit: RecordAudit, last: int, damages: list[Damage | Tail]) -> None:
    """Write the intact records and one `RecordsLost` per gap to a new live file, and link the old one at `aside`."""
    new = LogRewriter(
        live.path.with_name(f"{LOG_NAME}.part"),
        live.identity._replace(generation=live.identity.generation + 1),
    )
    for found in live.scan():
        if isinstance(found, LogEntry):
            new.add(found)
    reason = log_folder.describe_damage(damages[0]) if damages else "got the end of the file too early"
    for sequence, (first, lost) in enumerate(audit.gaps, last + 1):
        body = encode_body(RecordsLost(first=first, last=lost, reason=reason))
        new.add(LogEntry(sequence, time.time(), body, 0, 0, 0, 0))
    aside.parent.mkdir(exist_ok=True)
    os.link(live.path, aside)
    sync_folder(aside.parent)
    new.finish(live.path)


def _has_intact_header(path: Path) -> bool:
    try:
        open_log_file(path).close()
    except ConfigError:
        return False
    return True


def _open_damaged(folder: Path) -> LogFile:
    """Open a live file even if its header is damaged; its identity is then taken from the index or an archive."""
    path = folder / LOG_NAME
    try:
        return open_log_file(path)
    except ConfigError:
        position = index_position(folder)
        identities = [position[0]] if position else []
        for archive in (folder / log_folder.ARCHIVE_FOLDER).glob("*.log"):
            with suppress(ConfigError), closing(open_log_file(archive)) as file:
                identities.append(file.identity)
        identity = identities[0] if identities else Identity(os.urandom(16), 1)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return LogFile(path, descriptor, identity, os.fstat(descriptor).st_size)
