"""Finished pictures whose record is gone: they leave the dataset with their rows, and return with their record.

    removed/metadata.jsonl      rows of such pictures, in the form of the dataset's
    removed/images/4f/4f02….png their pictures; one of the same name that was removed before stays in `images`, and the
                                other goes to `images.2`

A row without its picture does not count: a kill at any moment leaves each picture either here or in the dataset.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import msgspec

from gems_actors.app.bulk.finished.ledger import IdTable, Ledger, TaskRef, number_of
from gems_actors.app.bulk.recipe import Recipe
from gems_actors.app.bulk.rows import Row, all_rows_of, put_row
from gems_actors.app.picture_files import OutputError, write_whole
from gems_actors.files import os_reason
from gems_actors.locks import sync_folder

_MOVED_AT_ONCE = 1000
_IMAGES = "images"


def set_aside(folder: Path, is_gone: Callable[[Row], bool]) -> int:
    """Move the pictures and rows of a bulk's folder whose record is gone to `removed`; return the number of pictures.

    Their rows stay in the dataset until it is sorted; without their pictures they no longer count.

    Raises:
        OutputError: a file cannot be moved.
    """
    pictures, gone = 0, (row for row in all_rows_of(folder) if is_gone(row))
    target = folder / "removed"
    try:
        while batch := list(islice(gone, _MOVED_AT_ONCE)):
            target.mkdir(exist_ok=True)
            moved = [msgspec.structs.replace(row, file_name=_free_name(target, row.file_name)) for row in batch]
            with (target / "metadata.jsonl").open("ab") as file:
                file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in moved))
                file.flush()
                os.fsync(file.fileno())
            for row, kept in zip(batch, moved, strict=True):
                (target / kept.file_name).parent.mkdir(parents=True, exist_ok=True)
                (folder / "dataset" / row.file_name).rename(target / kept.file_name)
                pictures += row.is_picture
            sync_folder(target)
    except OSError as error:
        raise OutputError(f"{target}: expected a folder to move pictures to, got: {os_reason(error)}") from error
    return pictures


class Removed:
    """The pictures in `removed` that can return."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self._folder = folder / "removed"
        self._dataset = folder / "dataset"
        self._ledger, self._offsets = Ledger(), IdTable("Q")
        self.returned = 0
        if not (self._folder / "metadata.jsonl").is_file():
            return
        start = None
        for offset, line in _lines(self._folder / "metadata.jsonl"):
            row = _row_of(line)
            if row is None or not (self._folder / row.file_name).is_file():
                start = None
                continue
            start = offset if start is None else start
            if row.is_picture:
                put_row(self._ledger, row)
                self._note_offset(row.ref, row.sample, start)
                start = None
        self._ledger.compare_skills(recipe.skills)

    def _note_offset(self, ref: TaskRef, sample: int, offset: int) -> None:
        id_ = number_of(ref, sample)
        if (found := self._offsets.find(id_)) is None:
            self._offsets.add(id_, offset)
        else:
            found[0][0][found[1]] = offset

    def take(
        self, ref: TaskRef, sample: int, key: str, index: int, keep: Callable[[Sequence[Row]], None]
    ) -> Row | None:
        """Move a picture back into the dataset and return its row; None if it is not here, or was drawn in another way.

        `keep` gets the rows of the picture, that of the picture last, before the files are moved.

        Raises:
            OutputError: a file cannot be moved.
        """
        if self._ledger.state_of(ref, sample, key) != "done":
            return None
        (offsets,), at = self._offsets.find(number_of(ref, sample)) or ((), 0)
        rows = []
        for _, line in _lines(self._folder / "metadata.jsonl", offsets[at]):
            if (row := _row_of(line)) is not None:
                rows.append(row)
            if row is None or row.is_picture:
                break
        names = [f"{_IMAGES}/{row.file_name.partition('/')[2]}" for row in rows]
        back = [
            msgspec.structs.replace(row, index=index, file_name=name) for row, name in zip(rows, names, strict=True)
        ]
        keep(back)
        try:
            for row, name in zip(rows, names, strict=True):
                (self._dataset / name).parent.mkdir(parents=True, exist_ok=True)
                (self._folder / row.file_name).rename(self._dataset / name)
        except OSError as error:
            raise OutputError(f"{self._dataset}: expected to move pictures back, got: {os_reason(error)}") from error
        self.returned += 1
        return back[-1]

    def close(self) -> None:
        """Remove the rows of pictures that returned.

        Raises:
            OutputError: the file cannot be written.
        """
        if self.returned:
            path = self._folder / "metadata.jsonl"
            kept = [
                line
                for _, line in _lines(path)
                if (row := _row_of(line)) is not None and (self._folder / row.file_name).is_file()
            ]
            write_whole(path, b"".join(kept))


def _free_name(target: Path, file_name: str) -> str:
    """Return the name of a picture in a folder, in the first of its folders that has no such file."""
    rest = file_name.partition("/")[2]
    names = (f"{_IMAGES}{f'.{number}' if number > 1 else ''}/{rest}" for number in count(1))
    return next(name for name in names if not (target / name).exists())


def _lines(path: Path, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file from an offset, each with its own offset."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            yield offset, line
            offset += len(line)


def _row_of(line: bytes) -> Row | None:
    try:
        return msgspec.json.decode(line, type=Row)
    except (msgspec.DecodeError, RecursionError):
        return None
