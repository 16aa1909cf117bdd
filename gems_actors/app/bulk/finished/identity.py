"""Which task a record is: its id, and what follows from it, which are its seed, the name of its file and its shard.

A task is the digest of its prompt and of its drawing fields, plus its occurrence among equal records, or the value of
`--id-column`: it stays the same wherever its line moves. A folder whose run.json has no `identity` was written by an
earlier version; its tasks have no id and are known by their index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Final
from urllib.parse import quote

import msgspec

from gems_actors.app.bulk.finished.ledger import IdTable
from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.picture_files import ENDINGS, PictureFormat
from gems_actors.app.prompts import PromptError
from protocol.identity import attempt_seed
from protocol.messages import Attempt

BY_INDEX: Final = 1
"""The identity of folders of earlier versions: a task is the index of its record."""
BY_CONTENT: Final = 2
_RECORDS_PER_FOLDER: Final = 1000
_MAX_NAME_BYTES: Final = 200


def identified(
    tasks: Iterator[Task | BadTask], identity: int, id_column: str | None = None
) -> Iterator[Task | BadTask]:
    """Yield tasks with their ids; all records of the input must be read, in order, because occurrences are counted.

    Args:
        tasks: every record of the input.
        identity: `BY_INDEX` or `BY_CONTENT`.
        id_column: field whose value is the id and the file name; a record without a usable one becomes a `BadTask`.
    """
    if identity == BY_INDEX:
        yield from tasks
        return
    seen, repeated, first = IdTable(), IdTable("I"), IdTable("I")
    for task in tasks:
        found = task
        if id_column is not None and isinstance(task, Task):
            found = _task_by_column(task, id_column, first)
        if isinstance(found, Task) and found.id:
            yield found
        else:
            yield replace(found, id=_occurrence_of(_digest_of(found), seen, repeated))


def seed_of(task: Task, seed: int, sample: int) -> int:
    """Return the seed of one sample of a task, 0 to 2**32 - 1.

    The first sample has the seed of its record, by default a hash of the bulk's seed and the task's id; further samples
    have a hash of that seed. No seed depends on other records.
    """
    if task.seed is not None:
        first = task.seed
    elif task.id:
        first = _seed(f"task\0{seed}\0{task.id}")
    else:
        first = attempt_seed(seed, task.index + 1, 0)
    return _seed(f"sample\0{first}\0{sample}") if sample else first


def file_name_of(task: Task, sample: int, picture_format: PictureFormat = "png", attempt: Attempt | None = None) -> str:
    """Return the path of a picture, or of another attempt, in the dataset.

    Tasks are spread over 256 folders by their id; tasks without one lie in folders of a thousand records. Parts of a
    name follow a dash, or a tilde where the name is the user's own, in which a tilde is encoded.
    """
    parts = [str(sample)] if sample else []
    if attempt is not None:
        parts.append(f"r{attempt.round}c{attempt.candidate}")
    stem, dash = (task.name, "~") if task.name else (task.id or f"{task.index:08d}", "-")
    folder = task.id[:2] if task.id else f"{task.index // _RECORDS_PER_FOLDER:05d}"
    return f"images/{folder}/{dash.join([stem, *parts])}{ENDINGS[picture_format]}"


def name_of(text: str) -> str:
    """Return an id as the name of a file: letters, digits, `.`, `_` and `-` stay, all else is percent-encoded.

    Raises:
        PromptError: it is empty, not UTF-8, or too long.
    """
    try:
        name = quote(text, safe="").replace("~", "%7E")
    except UnicodeEncodeError as error:
        raise PromptError(f"expected text in UTF-8, got {text[:80]!a}") from error
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if not 0 < len(name) <= _MAX_NAME_BYTES:
        raise PromptError(f"expected an id of 1 to {_MAX_NAME_BYTES} bytes as the name of a file, got {len(name)}")
    return name


def _task_by_column(task: Task, column: str, first: IdTable) -> Task | BadTask:
    """Return a task with the id of its column, or a bad one; `first` has the index of each id so far."""
    value = task.record.get(column)
    try:
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise PromptError(f"expected text or a whole number, got {'none' if value is None else str(value)[:80]}")
        name = name_of(str(value))
        id_ = _digest(f"id\0{value}".encode())
        if (found := first.find(id_)) is not None:
            raise PromptError(f"expected ids that differ, got that of record {found[0][0][found[1]] + 1}: {value!r}")
    except PromptError as error:
        text = json_text(task.record)
        return BadTask(task.index, f"record {task.index + 1}", text, f"{column}: {error}")
    first.add(id_, task.index)
    return replace(task, id=f"{id_:016x}", name=name)


def _digest_of(task: Task | BadTask) -> int:
    """Return the digest of what is drawn; `samples` does not count, because each sample is a separate picture."""
    if isinstance(task, BadTask):
        return _digest(f"bad\0{task.text}".encode(errors="replace"))
    parts = [task.prompt, task.seed, sorted(task.settings.items()), *([task.digests] if task.references else [])]
    try:
        return _digest(msgspec.json.encode(parts))
    except UnicodeEncodeError:  # a lone surrogate in a field; the record fails when it is drawn
        return _digest(ascii(parts).encode())


def _occurrence_of(digest: int, seen: IdTable, repeated: IdTable) -> str:
    """Return the id of the next record with a digest: the digest itself for the first one.

    Args:
        digest: that of the record.
        seen: all digests so far.
        repeated: how often each digest was seen that was seen more than once; most records of most files are unique.
    """
    if seen.add_new(digest):
        return f"{digest:016x}"
    if (found := repeated.find(digest)) is None:
        repeated.add(digest, 2)
        number = 1
    else:
        (counts,), at = found
        number, counts[at] = counts[at], counts[at] + 1
    return f"{_digest(f'occurrence{chr(0)}{digest:016x}{chr(0)}{number}'.encode()):016x}"


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def _seed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")
