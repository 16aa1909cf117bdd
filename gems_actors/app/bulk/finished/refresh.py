"""Rows follow their records: what no picture depends on is in each row as its record has it now.

These are the other columns of the record, and the names of the files that it is drawn from. A file with other contents
is another picture: a row that stays with `--keep` keeps the name of the file that its picture was drawn from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.rows import Row, RowId, reference_digests_of
from gems_actors.app.bulk.tasks import BadTask, Task


def refresh_columns(path: Path, tasks: Iterator[Task | BadTask]) -> None:
    """Rewrite a file of rows with the columns of their records, each read once; both are in the order of the input."""
    target = path.with_name(f".{path.name}.refreshed")
    record: Task | BadTask | None = None
    with path.open("rb") as lines, target.open("wb") as sink:
        for line in lines:
            id_ = msgspec.json.decode(line, type=RowId)
            while record is None or record.index < id_.index:
                if (record := next(tasks, None)) is None:
                    break
            sink.write(_refreshed(line, record) if isinstance(record, Task) and record.id == id_.task else line)
        sink.flush()
        os.fsync(sink.fileno())
    target.replace(path)


def _refreshed(line: bytes, record: Task) -> bytes:
    row = msgspec.json.decode(line, type=Row)
    if not isinstance(row.metadata, str):
        return line
    names = record.names if row.reference_digests == reference_digests_of(record) else row.references
    found = msgspec.structs.replace(row, metadata=json_text(record.metadata), references=names)
    return line if found == row else msgspec.json.encode(found) + b"\n"
