"""Removing pictures that no record names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from actors.memory_store.log_folder import archive_path, claim_folder
from actors.memory_store.maintenance.log_reader import indexed_archives, named_images
from gems_actors.blobs import BlobFolder
from gems_actors.errors import LogError


class Garbage(NamedTuple):
    """Pictures that no record names."""

    blobs: int
    bytes: int
    kept: int
    """Number of pictures that records name."""


def collect_garbage(folders: Sequence[Path], blobs: BlobFolder, *, is_dry_run: bool) -> Garbage:
    """Remove the pictures that no record names, or only count them in a dry run.

    `folders` must be those of all logs that share the pictures: pictures named only by another log would be removed.

    Raises:
        ConfigError: a folder cannot be used, or another process holds it and may be about to name a picture.
        LogError: not all records can be read, so that a picture in use might be removed.
    """
    with ExitStack() as stack:
        problems: list[str] = []
        named: set[str] = set()
        for folder in folders:
            if not is_dry_run:
                claim_folder(stack, folder)
            archives = (archive_path(folder, number) for number in indexed_archives(folder))
            problems += (f"{path}: is missing" for path in archives if not path.exists())
            images = named_images(folder, problems)
            named |= images.drawn.keys() | images.given.keys()
        if problems:
            raise LogError(f"expected to read every record before any picture is removed: {problems[0]}")
        kept = count = size = 0
        for path in (*(blobs.folder / "sha256").glob("??/??/*"), *(blobs.folder / "partial").glob("*")):
            if path.parent.name != "partial" and f"sha256:{path.name}" in named:
                kept += 1
                continue
            count += 1
            size += path.stat().st_size
            if not is_dry_run:
                path.unlink()
        return Garbage(count, size, kept)
