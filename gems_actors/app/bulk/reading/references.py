"""Pictures that records are drawn from: found, hashed and looked at before anything is drawn, and decoded when it is.

A file that a thousand records name is read once here, and decoded and stored about once. What is kept of a file is 44
bytes: its digest and its size.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import trio

from gems_actors.app.bulk.finished.ledger import IdTable
from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.tasks import BadTask, Source, Task
from gems_actors.app.references.drawing import keep_references
from gems_actors.app.references.pictures import BadReferenceError, Reference, read_file, reference_in, size_of
from gems_actors.blobs import BlobStore
from gems_actors.errors import RequestError, UnsupportedError
from protocol.messages import ImageRef

_MAX_KEPT: Final = 4096
"""References whose place in the store is remembered."""
_MAX_DECODED_AT_ONCE: Final = 2
_WORD_BITS: Final = 64


class SourceFiles:
    """The files that records of one input name; each is read again only if it has changed."""

    def __init__(self, folder: Path) -> None:
        """Find files by paths relative to `folder`, that of the input."""
        self._folder = folder
        self._known = IdTable("QQQQHH")  # the SHA-256 in four parts, width, height

    def resolve(self, tasks: Iterator[Task | BadTask]) -> Iterator[Task | BadTask]:
        """Yield tasks with the digest and size of each picture; one with an unusable picture becomes a `BadTask`."""
        for task in tasks:
            if isinstance(task, BadTask) or not task.references:
                yield task
                continue
            try:
                found = tuple(map(self._found, task.references))
            except BadReferenceError as error:
                yield BadTask(task.index, f"record {task.index + 1}", json_text(task.record), str(error))
            else:
                yield replace(task, references=found)

    def read(self, source: Source) -> Reference:
        """Return the picture of a source that was found, decoded; for worker threads.

        Raises:
            BadReferenceError: it cannot be used, or is another one by now.
        """
        try:
            data = read_file(self._folder / source.name) if source.data is None else source.data
            if sha256(data).hexdigest() != source.digest:
                raise BadReferenceError("expected the file that this run has read, got one that changed since")
            return reference_in(data)
        except BadReferenceError as error:
            raise BadReferenceError(f"{source.column}: {source.name}: {error}") from error

    def _found(self, source: Source) -> Source:
        try:
            digest, width_px, height_px = self._look_up(source) if source.data is None else _look_at(source.data)
        except BadReferenceError as error:
            raise BadReferenceError(f"{source.column}: {source.name[:200]}: {error}") from error
        return replace(source, digest=digest, width_px=width_px, height_px=height_px)

    def _look_up(self, source: Source) -> tuple[str, int, int]:
        path = self._folder / source.name
        try:
            status = path.stat()
            text = f"{os.fsdecode(path)!a}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}"
        except (OSError, ValueError):
            return _look_at(read_file(path))  # which says why it cannot be read
        id_ = int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
        if (found := self._known.find(id_)) is not None:
            columns, at = found
            *words, width_px, height_px = (column[at] for column in columns)
            return "".join(f"{word:016x}" for word in words), width_px, height_px
        digest, width_px, height_px = _look_at(read_file(path))
        number = int(digest, 16)
        words = [number >> shift & (1 << _WORD_BITS) - 1 for shift in (192, 128, 64, 0)]
        self._known.add(id_, *words, width_px, height_px)
        return digest, width_px, height_px


class KeptReferences:
    """The pictures of tasks in a mesh's store; safe to use from many tasks at once."""

    def __init__(self, files: SourceFiles) -> None:
        self._files = files
        self._refusal = ""
        """Why no task can be drawn from pictures, once the mesh has said so."""
        self._kept: OrderedDict[str, ImageRef] = OrderedDict()
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()
        self._decoding = trio.CapacityLimiter(_MAX_DECODED_AT_ONCE)

    async def keep(self, task: Task, blobs: BlobStore, *, again: bool = False) -> tuple[ImageRef, ...]:
        """Put the pictures that a task is drawn from into the store, and return their references.

        Those that were put there before are not put there `again` unless the store has lost one.

        Raises:
            BadReferenceError: one of them cannot be used.
            BlobError: one of them cannot be stored.
            UnsupportedError: the mesh does not draw from pictures.
        """
        if task.references and self._refusal:
            raise UnsupportedError(self._refusal)
        for source in task.references if again else ():
            self._kept.pop(source.digest, None)
        return tuple([await self._keep(source, blobs) for source in task.references])

    def note_failure(self, task: Task, error: RequestError) -> None:
        """Let the other tasks with pictures fail at once if the mesh does not draw from any: each would cost a plan."""
        if task.references and isinstance(error, UnsupportedError):
            self._refusal = str(error)

    async def _keep(self, source: Source, blobs: BlobStore) -> ImageRef:
        lock = self._locks.setdefault(source.digest, trio.Lock())  # others of the same source wait for the first
        async with lock:
            if (ref := self._kept.get(source.digest)) is None:
                read = partial(self._files.read, source)
                reference = await trio.to_thread.run_sync(read, limiter=self._decoding)
                await keep_references(blobs, [reference])
                ref = self._kept[source.digest] = reference.ref
            self._kept.move_to_end(source.digest)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return ref


def _look_at(data: bytes) -> tuple[str, int, int]:
    """Return digest and upright size of a file, after a look at its header alone."""
    return sha256(data).hexdigest(), *size_of(data)
