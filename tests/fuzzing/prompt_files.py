"""Files of prompts for a bulk: the first byte chooses the format."""

from __future__ import annotations

import json
from contextlib import suppress
from io import BytesIO
from typing import get_args

import msgspec

from gems_actors.app.bulk.reading.readers import InputFormat, count_records, open_tasks
from gems_actors.app.bulk.tasks import BadTask
from gems_actors.app.prompts import PromptError

FORMATS: tuple[InputFormat, ...] = get_args(InputFormat)


def seeds() -> list[bytes]:
    """Return files of each format."""
    text = "a red fox\n\nein Fuchs, größer\n".encode()
    lines = [{"prompt": "a fox", "seed": 7, "size": "512x512", "tags": ["a", {"b": 1}]}, {"prompt": "b", "seed": None}]
    json_lines = b"\n".join(json.dumps(line).encode() for line in lines)
    csv = b'prompt,seed,size,note\n"a ""red"" fox",1,512x512,\nb,,,"x\ny"\n'
    found = [
        ("txt", text),
        ("jsonl", json_lines),
        ("csv", csv),
        ("csv", csv.replace(b",", b";")),
        ("csv", b"\xef\xbb\xbf" + csv),
    ]
    with suppress(ImportError):
        import pyarrow as pa
        from pyarrow import parquet

        file = BytesIO()
        parquet.write_table(pa.table({"prompt": ["a", "b"], "seed": [1, None], "tags": [["x"], []]}), file)
        found.append(("parquet", file.getvalue()))
    return [bytes([FORMATS.index(name)]) + data for name, data in found]


def check(data: bytes) -> None:
    """Read all tasks of a file; each record is a task or is named."""
    name: InputFormat = FORMATS[data[0] % len(FORMATS)] if data else "txt"
    with suppress(PromptError):
        count_records(BytesIO(data[1:]), name)
    with suppress(PromptError):
        for task in open_tasks(BytesIO(data[1:]), name):
            if not isinstance(task, BadTask):
                msgspec.json.encode(task.prompt)
                json.dumps(task.metadata, allow_nan=False).encode()
