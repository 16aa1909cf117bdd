"""The files in the folder of a learning command: each is written whole, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.picture_files import OutputError, write_whole
from gems_actors.app.skills.plan import Record
from gems_actors.files import reason_of

FileT = TypeVar("FileT")


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write prompts as tasks of a bulk, unless they are there already.

    Raises:
        OutputError: they cannot be written.
    """
    data = "".join(f"{json_text(record)}\n" for record in records).encode()
    if not path.exists():
        write_whole(path, data)


def write_json(path: Path, value: Any) -> None:
    """Write a record as a file of JSON.

    Raises:
        OutputError: it cannot be written.
    """
    write_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def read_json(path: Path, kind: type[FileT]) -> FileT | None:
    """Return the content of a file of this folder; None if it does not exist yet.

    Raises:
        OutputError: it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise OutputError(f"{path}: expected a file that learning wrote, got: {reason_of(error)}") from error
