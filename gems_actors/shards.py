"""Which process of memory has which records: the names, folders and homes of its shards, now and in earlier layouts.

A layout is a number of shards; in each a trajectory has a home. Records stay where the first of their trajectory was
kept, so what is there when the number changes is found by the layouts that were before.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path

from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError
from gems_actors.locks import sync_folder
from protocol.envelope import Header
from protocol.identity import shard_of
from protocol.limits import MAX_SHARDS

MEMORY_ROLE = "memory"
LAYOUTS_NAME = "memory.layouts"
"""File of a data folder: a line a layout, the present one last. Where memory always was one shard there is none."""
_FIRST_SHARD = f"{MEMORY_ROLE}_0"
_SHARD_ROLE = re.compile(rf"{MEMORY_ROLE}_(\d{{1,3}})")


def role_of_shard(shard: int) -> str:
    """Return the role as which a shard is in the mesh: `memory`, `memory_1`, `memory_2`."""
    return f"{MEMORY_ROLE}_{shard}" if shard else MEMORY_ROLE


def shard_of_role(role: str) -> int | None:
    """Return the shard that a role is, or None for another role."""
    if role == MEMORY_ROLE:
        return 0
    match = _SHARD_ROLE.fullmatch(role)
    return int(match[1]) if match and int(match[1]) < MAX_SHARDS else None


def address_of_shard(shard: int) -> str:
    """Return the role that a request names to reach this very shard; `memory` alone is whichever has the trajectory."""
    return f"{MEMORY_ROLE}_{shard}"


def to_shard(header: Header, shards: int) -> Header:
    """Return the header of a request with the role whose actor it is for, where memory is so many shards."""
    if header.role == MEMORY_ROLE and shards > 1:
        return header._replace(role=role_of_shard(shard_of(header.trajectory, shards)))
    return header._replace(role=MEMORY_ROLE) if header.role == _FIRST_SHARD else header


def parts_of(role: str, config: MeshConfig) -> list[str]:
    """Return what is played by an actor each where a role is there once: memory's shards, those of old layouts too.

    Raises:
        ConfigError: the layouts of the data folder cannot be read or written.
    """
    if role != MEMORY_ROLE:
        return [role]
    return [role_of_shard(shard) for shard in range(max(note_layout(config.data_path, config.memory.shards)))]


def homes_of(trajectory: str, layouts: Sequence[int]) -> list[int]:
    """Return the shards that are or were the home of a trajectory, each once, that of the present layout first."""
    id_ = bytes.fromhex(trajectory)
    return list(dict.fromkeys(shard_of(id_, shards) for shards in reversed(layouts)))


def shard_folder(data_path: Path, shard: int) -> Path:
    """Return the folder in which a shard keeps its log: `memory`, `memory-1`, `memory-2`."""
    return data_path / (f"memory-{shard}" if shard else "memory")


def shard_of_folder(folder: Path) -> int:
    """Return whose folder one is that `shard_folder` gave."""
    return int(folder.name.partition("-")[2] or 0)


def read_layouts(data_path: Path) -> tuple[int, ...]:
    """Return the layouts that a data folder has had, the latest last; none where there is no memory yet.

    Where nobody has written them down, or the file is lost, they are all that may have led to the folders there.

    Raises:
        ConfigError: the file cannot be read, or says what is none.
    """
    path = data_path / LAYOUTS_NAME
    try:
        layouts = _parse_layouts(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        layouts = ()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a number of shards up to {MAX_SHARDS} a line, got: {error}") from error
    return layouts or tuple(range(1, _folders_of(data_path) + 1))


def note_layout(data_path: Path, shards: int) -> tuple[int, ...]:
    """Make a number of shards the latest layout, durably, and return all there were; called before a log is opened.

    Shards that start at once may all do so.

    Raises:
        ConfigError: the file cannot be read or written, or says what is none.
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
                whole = _whole_lines(file.read())
                layouts = (*layouts, shards)
                file.truncate(len(whole))
                file.write("".join(f"{layout}\n" for layout in layouts[len(whole.split()) :]))
                file.flush()
                os.fsync(file.fileno())
        sync_folder(data_path)
    except OSError as error:
        raise ConfigError(f"{path}: expected a file to write to, got: {error.strerror}") from error
    return layouts


def _folders_of(data_path: Path) -> int:
    """Return how many shards a data folder has had at least."""
    return max(
        (shard + 1 for shard in range(MAX_SHARDS) if (shard_folder(data_path, shard) / "log").exists()), default=0
    )


def _parse_layouts(text: str) -> tuple[int, ...]:
    layouts = tuple(map(int, _whole_lines(text).split()))
    if not all(1 <= shards <= MAX_SHARDS for shards in layouts):
        raise ValueError(f"{text[:80]!r}")
    return layouts


def _whole_lines(text: str) -> str:
    """Return a text without a last line that a crash cut short; nobody has gone by that one."""
    return text[: text.rfind("\n") + 1]
