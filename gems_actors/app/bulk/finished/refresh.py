"""Rows follow their records: the other columns of a finished picture are those that its record has now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.rows import Row, RowId
from gems_actors.app.bulk.tasks import BadTask, Task


def refresh_metadata(path: Path, tasks: Iterator[Task | BadTask]) -> None:
    """Rewrite a file of rows with the metadata of their records, each read once; both are in the order of the input."""
    target = path.with_name(f".{path.name}.refreshed")
    record: Task | BadTask | None = None
    with path.open("rb") as lines, target.open("wb") as sink:
        for line in lines:
            id_ = msgspec.json.decode(line, type=RowId)
            while record is None or record.index < id_.index:
                if (record := next(tasks, None)) is None:
                    break
            metadata = json_text(record.metadata) if isinstance(record, Task) and record.id == id_.task else None
            sink.write(line if metadata is None else _refreshed(line, metadata))
        sink.flush()
        os.fsync(sink.fileno())
    target.replace(path)


def _refreshed(line: bytes, metadata: str) -> bytes:
    row = msgspec.json.decode(line, type=Row)
    if row.metadata == metadata or not isinstance(row.metadata, str):
        return line
    return msgspec.json.encode(msgspec.structs.replace(row, metadata=metadata)) + b"\n"
