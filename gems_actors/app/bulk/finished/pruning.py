"""Drops from a bulk's folder the attempts that no row needs: the dataset has its own copy of every picture.

Only pictures that a row names are dropped. Those of trajectories that have not ended stay, whatever rows say, because
the next run continues them, and so do those that any task refers to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actors.memory_store.log_folder import claim_folder
from actors.memory_store.maintenance import export_records
from gems_actors.app.bulk.folder_files import MESH_FOLDER
from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.memory.access import MemoryLocation
from gems_actors.app.picture_files import OutputError
from gems_actors.blobs import BlobFolder
from gems_actors.config import MESH_BLOBS, MeshConfig
from gems_actors.errors import ConfigError, UsageError
from gems_actors.files import os_reason, reason_of
from gems_actors.locks import LockHeldError, hold_lock
from protocol.messages import AnyRecord, AttemptVerified, TrajectoryBegun, TrajectoryEnded, TrajectoryReopened

Kept = Literal["none", "chosen"]
"""Pictures of finished tasks that stay: none, or those that were chosen."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was dropped, or would be in a dry run."""

    files: int
    bytes: int


def check_prunable(config: MeshConfig, router: str | None) -> None:
    """Check that a run's pictures are in its own folder, where alone they may be dropped.

    Raises:
        UsageError: a running mesh keeps them, or they are in a folder or bucket that others may share.
    """
    elsewhere = router or (config.blobs if config.blobs != MESH_BLOBS else None)
    if elsewhere is not None:
        raise UsageError(
            f"--keep-attempts: expected all, because pictures are kept at {elsewhere}, which others may use"
        )


def prune(folder: Path, kept: Kept, *, is_dry_run: bool = False, is_locked: bool = False) -> Pruned:
    """Drop the pictures in DIR/.mesh/blobs that no row and no unfinished trajectory needs.

    Args:
        folder: output of a bulk.
        kept: pictures of finished tasks to keep.
        is_dry_run: only count them.
        is_locked: whether the caller fills the folder, and has the lock that says so.

    Raises:
        OutputError: another process fills the folder, or a record cannot be read, so that a picture in use might go.
    """
    blobs = BlobFolder(folder / MESH_FOLDER / "blobs")
    location = MemoryLocation(MeshConfig(data_dir=str((folder / MESH_FOLDER).absolute())), None)
    with ExitStack() as stack:
        try:
            if not is_locked:
                stack.enter_context(hold_lock(folder / MESH_FOLDER / "bulk.lock"))
            memories = location.all_folders() if location.folders else []
            for memory in memories if not is_dry_run else ():
                claim_folder(stack, memory)
            needed = _digests_of_unfinished(memories) | _digests_given(memories)
        except LockHeldError as error:
            raise OutputError(f"{folder}: expected a folder that no bulk writes to, got one {error}") from error
        except (ConfigError, OSError) as error:
            raise OutputError(f"{folder}: expected a readable folder, got: {reason_of(error)}") from error
        if kept == "chosen":
            needed |= {row.digest for row in rows_of(folder)}
        return _drop(folder, blobs, needed, is_dry_run=is_dry_run)


def _drop(folder: Path, blobs: BlobFolder, needed: set[str], *, is_dry_run: bool) -> Pruned:
    dropped = set[str]()
    size = 0
    for row in rows_of(folder):
        for digest in {*row.digests} - needed - dropped:
            path = blobs.path_of(digest)
            try:
                size += path.stat().st_size
                if not is_dry_run:
                    path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise OutputError(f"{path}: expected a file to remove, got: {os_reason(error)}") from error
            dropped.add(digest)
    return Pruned(len(dropped), size)


def _digests_of_unfinished(memories: Sequence[Path]) -> set[str]:
    """Return the digests of all images of trajectories that have not ended, or were reopened since."""
    ended = set[bytes]()
    for record in _records_of(memories):
        match record:
            case TrajectoryEnded():
                ended.add(bytes.fromhex(record.trajectory))
            case TrajectoryReopened():
                ended.discard(bytes.fromhex(record.trajectory))
    return {
        record.attempt.image.digest
        for record in _records_of(memories)
        if isinstance(record, AttemptVerified) and bytes.fromhex(record.trajectory) not in ended
    }


def _digests_given(memories: Sequence[Path]) -> set[str]:
    """Return the digests of all pictures that tasks refer to: one may have been drawn for another task."""
    return {
        image.digest
        for record in _records_of(memories)
        if isinstance(record, TrajectoryBegun | TrajectoryReopened)
        for image in record.task.references
    }


def _records_of(memories: Sequence[Path]) -> Iterator[AnyRecord]:
    for memory in memories:
        for logged in export_records(memory):
            if isinstance(logged, str):
                raise OutputError(f"expected to read every record before any picture is removed: {logged}")
            yield logged.record
