"""Memory's shards on disk: their folders, and the layouts a data folder has had.

A layout is a number of shards, which gives each trajectory a home shard. Records stay in the shard that was home when
their trajectory began, so after the number changes they are found through the earlier layouts.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError
from gems_actors.files import os_reason, reason_of
from gems_actors.locks import sync_folder
from gems_actors.shards import role_of_shard
from protocol.limits import MAX_SHARDS

LAYOUTS_NAME = "memory.layouts"
"""File in a data folder with one layout per line, the current one last; missing if memory was always one shard."""


def shard_roles(config: MeshConfig) -> list[str]:
    """Return the role name of each shard of memory, including shards that only earlier layouts had.

    Raises:
        ConfigError: the layouts of the data folder cannot be read or written.
    """
    return [role_of_shard(shard) for shard in range(max(note_layout(config.data_path, config.memory.shards)))]


def shard_folder(data_path: Path, shard: int) -> Path:
    """Return the folder in which a shard keeps its log: `memory`, `memory-1`, `memory-2`."""
    return data_path / (f"memory-{shard}" if shard else "memory")


def shard_of_folder(folder: Path) -> int:
    """Return the shard of a folder that `shard_folder` returned."""
    return int(folder.name.partition("-")[2] or 0)


def read_layouts(data_path: Path) -> tuple[int, ...]:
    """Return the layouts that a data folder has had, the latest last; empty if it holds no memory yet.

    Without the file, they are all layouts that could have produced the folders found there.

    Raises:
        ConfigError: the file cannot be read or holds something else.
    """
    path = data_path / LAYOUTS_NAME
    try:
        layouts = _parse_layouts(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        layouts = ()
    except (OSError, ValueError) as error:
        expected = f"expected a number of shards up to {MAX_SHARDS} a line"
        raise ConfigError(f"{path}: {expected}, got: {reason_of(error)}") from error
    return layouts or tuple(range(1, _count_folders(data_path) + 1))


def note_layout(data_path: Path, shards: int) -> tuple[int, ...]:
    """Record `shards` durably as the latest layout, and return all layouts; called before a log is opened.

    Shards that start at the same time may all call this.

    Raises:
        ConfigError: the file cannot be read or written, or holds something else.
    """
    layouts = read_layouts(data_path) or (1,)
    if layouts[-1] == shards:
        return layouts
    path = data_path / LAYOUTS_NAME
    try:
        data_path.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            layouts = read_layouts(data_path)  # another shard may have been first
            if layouts[-1:] != (shards,):
                file.seek(0)
                kept = _complete_lines(file.read())
                layouts = (*layouts, shards)
                file.truncate(len(kept))
                file.write("".join(f"{layout}\n" for layout in layouts[len(kept.split()) :]))
                file.flush()
                os.fsync(file.fileno())
        sync_folder(data_path)
    except OSError as error:
        raise ConfigError(f"{path}: expected a writable file, got: {os_reason(error)}") from error
    return layouts


def _count_folders(data_path: Path) -> int:
    """Return the smallest number of shards that explains the folders found."""
    return max(
        (shard + 1 for shard in range(MAX_SHARDS) if (shard_folder(data_path, shard) / "log").exists()), default=0
    )


def _parse_layouts(text: str) -> tuple[int, ...]:
    layouts = tuple(map(int, _complete_lines(text).split()))
    if not all(1 <= shards <= MAX_SHARDS for shards in layouts):
        raise ValueError(f"{text[:80]!r}")
    return layouts


def _complete_lines(text: str) -> str:
    """Return a text without a last line that a crash cut short; no shard has used that layout."""
    return text[: text.rfind("\n") + 1]
