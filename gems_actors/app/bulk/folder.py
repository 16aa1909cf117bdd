"""The folder that a bulk fills, and that the same command continues.

    dataset/metadata.jsonl              one row per picture, in the format of Hugging Face's imagefolder
    dataset/images/4f/4f02….png         the picture of a task by its id, written atomically; its third sample is …-2.png
    dataset/images/4f/4f02…-r2c1.png    with --attempts: another attempt, by round and candidate
    removed/                            pictures and rows whose record is gone: see `finished.removed`
    failed.jsonl                        one row per failed task: its record with class and reason of the failure
    run.json                            the run's specification: input, seed, settings; how its pictures were drawn
    provenance.json                     what a figure of the run needs to be made again: see `provenance`
    .mesh/                              log and pictures of the mesh that the bulk starts; spent.jsonl, the cost of
                                        each picture; sessions.jsonl, pictures and seconds of each process;
                                        images.json, how the images of a run are spent

A folder of an earlier version has no `identity` in run.json: its pictures are named by the index of their records.

One process at a time fills a folder. A row torn by a kill is dropped, and so is a row without its picture: that task is
drawn again. Rows are appended as pictures finish, and sorted into the order of the input at the end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from gems_actors.app import picture_files
from gems_actors.app.bulk import rows as dataset_rows
from gems_actors.app.bulk.finished.identity import file_name_of
from gems_actors.app.bulk.finished.ledger import Ledger
from gems_actors.app.bulk.folder_files import MESH_FOLDER, Session, SpentRow, costs_of_pictures
from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.rows import DrawnTask, Row, rows_of
from gems_actors.app.bulk.run_spec import RunSpec, check_run, read_run, remembering
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.picture_files import OutputError, PartFile, write_whole
from gems_actors.errors import BlobError
from gems_actors.files import os_reason
from gems_actors.locks import LockHeldError, hold_lock
from gems_actors.os_process import FileAccess
from protocol.costs import add_costs
from protocol.messages import ImageRef, Spent


class _Written(NamedTuple):
    """A picture that is written and has yet to take its place."""

    row: Row
    rows: list[Row]
    spent: bytes
    file: PartFile


class BulkFolder:
    """A folder that this process may fill; made by `open_bulk_folder`."""

    def __init__(
        self, path: Path, run: RunSpec, ledger: Ledger, take_row: Callable[[Row], None], *, keeps_failures: bool
    ) -> None:
        self.path = path
        self.run = run
        """The specification of the run, as it is in run.json."""
        self.spent: dict[str, Spent] = {}
        """Cost of all pictures in the folder, by role."""
        self.ledger = ledger
        """The pictures in the folder, as it was opened."""
        self.keep_run(run)
        self._is_older = False
        """Whether an earlier version wrote rows whose metadata are objects; those of one file must be alike."""
        for row in rows_of(path):
            self._is_older = self._is_older or isinstance(row.metadata, dict)
            take_row(row)
        for cost in costs_of_pictures(path):
            if ledger.has(cost.ref, cost.sample):
                add_costs(self.spent, cost.spent)
        self._metadata = _open_to_append(self.metadata_path, 0)
        self._failed = _open_to_append(path / "failed.jsonl", 0 if keeps_failures else os.O_TRUNC)
        self._spent = _open_to_append(path / MESH_FOLDER / "spent.jsonl", 0)

    @property
    def metadata_path(self) -> Path:
        """File with the rows."""
        return self.path / "dataset" / "metadata.jsonl"

    def keep_run(self, run: RunSpec) -> None:
        """Write run.json.

        Raises:
            OutputError: the file cannot be written.
        """
        write_whole(
            self.path / "run.json", msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n", is_only_writer=True
        )
        self.run = run

    def keep_pictures(
        self, drawn: Sequence[DrawnTask], read: Callable[[ImageRef], bytes]
    ) -> list[Row | OutputError | BlobError]:
        """Write pictures with their metadata, and their rows; call it from a thread.

        Args:
            drawn: finished tasks; what they have in common, such as commits of the disk, is done once.
            read: returns the bytes of an image.

        Returns:
            The row of each task, or why it has none: a `PictureError` if an image cannot be decoded, an `OutputError`
            if a file cannot be written, and a `BlobError` if an image cannot be read.

        Raises:
            OutputError: no file can be written.
        """
        self.check_in_place()
        found: dict[int, Row | OutputError | BlobError] = {}
        written: dict[int, _Written] = {}
        for place, each in enumerate(drawn):
            try:
                if self.ledger.has(each.task.ref, each.sample):
                    found[place] = self._keep_again(each, read)
                else:
                    row, data = self._encoded(each, read)
                    lines = self._lines_of(each, row, read)
                    written[place] = _Written(row, *lines, self._part_of(row.file_name, data))
            except (OutputError, BlobError) as error:
                found[place] = error
        for place in [*written]:
            try:
                written[place].file.finish()
            except OutputError as error:
                del written[place]
                found[place] = error
        if written:  # readers of the folder must find no row without its picture
            _append(self._spent, b"\n".join(each.spent for each in written.values()), self.path)
            self.keep_rows([row for each in written.values() for row in each.rows])
            found |= {place: each.row for place, each in written.items()}
        return [found[place] for place in range(len(drawn))]

    def _keep_again(self, drawn: DrawnTask, read: Callable[[ImageRef], bytes]) -> Row:
        """Replace a picture of the folder and its row."""
        row, data = self._encoded(drawn, read)  # before anything is replaced: it may be impossible
        for attempt in drawn.picture.attempts if self.run.attempts else ():
            read(attempt.image)
        # a row without its picture is ignored: no kill may leave it with another drawing's picture
        (self.path / "dataset" / row.file_name).unlink(missing_ok=True)
        rows, spent = self._lines_of(drawn, row, read)
        _append(self._spent, spent, self.path)
        self.keep_rows(rows)
        os.fsync(self._metadata)
        self._part_of(row.file_name, data).finish()
        return row

    def _encoded(self, drawn: DrawnTask, read: Callable[[ImageRef], bytes]) -> tuple[Row, bytes]:
        """Return the row of a task and the file of its picture."""
        row = self._row_of(drawn, file_name_of(drawn.task, drawn.sample, self.run.pictures))
        texts = picture_files.texts_of(drawn.picture, seed=drawn.seed, model=row.models["image"])
        return row, self._encode(drawn.picture.best.image, read, texts)

    def _lines_of(self, drawn: DrawnTask, row: Row, read: Callable[[ImageRef], bytes]) -> tuple[list[Row], bytes]:
        """Write the attempts that were not chosen, and return the rows of a task and the line of its cost."""
        rows = [row]
        if self.run.attempts:
            chosen = dataset_rows.attempt_row(row, drawn.picture.best, chosen=True)
            rows = [*self._keep_others(drawn, row, read), chosen]
        spent = SpentRow(
            index=row.index,
            sample=row.sample,
            task=row.task,
            key=f"{int(row.key, 16) ^ drawn.reopened.reopenings:x}",
            spent=drawn.spent,
            calls_by_image=drawn.calls_by_image,
        )
        return rows, msgspec.json.encode(spent)

    def keep_rows(self, rows: Sequence[Row]) -> None:
        """Append rows; those whose pictures do not exist yet do not count.

        Raises:
            OutputError: the file cannot be written.
        """
        self.ledger.is_in_order = False
        _append(self._metadata, b"\n".join(map(msgspec.json.encode, rows)), self.path)

    def _keep_others(self, drawn: DrawnTask, row: Row, read: Callable[[ImageRef], bytes]) -> Iterator[Row]:
        """Write the attempts that were not chosen and yield their rows; remove those of an earlier drawing."""
        picture = drawn.picture
        others = {
            file_name_of(drawn.task, row.sample, self.run.pictures, attempt): attempt
            for attempt in picture.attempts
            if attempt is not picture.best
        }
        target = self.path / "dataset" / row.file_name
        for stale in target.parent.glob(f"{target.stem}{'~' if drawn.task.name else '-'}r*"):
            if f"{Path(row.file_name).parent}/{stale.name}" not in others:
                stale.unlink()
        for file_name, attempt in others.items():
            ending = msgspec.structs.replace(picture.ending, best_round=attempt.round, best_candidate=attempt.candidate)
            as_chosen = msgspec.structs.replace(picture, ending=ending)
            texts = {"parameters": picture_files.parameters_of(as_chosen, row.models["image"])}
            self._part_of(file_name, self._encode(attempt.image, read, texts)).finish()
            attempt_as_row = self._row_of(replace(drawn, picture=as_chosen), file_name)
            yield dataset_rows.attempt_row(attempt_as_row, attempt, chosen=False)

    def _row_of(self, drawn: DrawnTask, file_name: str) -> Row:
        row = dataset_rows.row_of(drawn, file_name)
        if self._is_older:
            return msgspec.structs.replace(row, metadata=dict(drawn.task.metadata) or None)
        return row

    def _encode(self, image: ImageRef, read: Callable[[ImageRef], bytes], texts: dict[str, str]) -> bytes:
        return picture_files.picture_of(read(image), image.media_type, self.run.pictures, texts)

    def _part_of(self, file_name: str, data: bytes) -> PartFile:
        target = self.path / "dataset" / file_name
        try:
            return PartFile(target, data, is_only_writer=True)
        except OutputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        try:
            target.parent.mkdir(parents=True, exist_ok=True)  # rarely: a folder takes many pictures
        except OSError as error:
            raise OutputError(f"{target.parent}: expected a folder to write into, got: {os_reason(error)}") from error
        return PartFile(target, data, is_only_writer=True)

    def keep_failure(self, task: Task | BadTask, sample: int, class_: str, reason: str) -> None:
        """Write why a task has no picture.

        Raises:
            OutputError: the file cannot be written.
        """
        self.check_in_place()
        record = task.record if isinstance(task, Task) else {"line": task.text}
        where = task.where if isinstance(task, BadTask) else f"record {task.index + 1}"
        position = {"index": task.index, "where": where} | ({"sample": sample} if sample else {})
        position |= {"task": task.id} if task.id else {}
        line = json_text({**record, **position, "class": class_, "reason": reason}).encode()
        _append(self._failed, line, self.path)

    def check_in_place(self) -> None:
        """Refuse to write rows that nobody could read: a removed file that is open takes them in silence.

        Raises:
            OutputError: the folder is not the one in which the run began.
        """
        try:
            is_here = os.path.samestat(os.fstat(self._metadata), self.metadata_path.stat())
        except OSError:
            is_here = False
        if not is_here:
            raise OutputError(
                f"{self.path}: expected the folder in which the run began, got none or another one: it was moved or "
                "removed while the run wrote to it"
            )

    def keep_session(self, pictures: int, seconds: float) -> None:
        """Write how many pictures this process drew in what time; `--dry-run` estimates from it.

        Raises:
            OutputError: the file cannot be written.
        """
        if pictures:
            line = msgspec.json.encode(Session(pictures=pictures, seconds=seconds))
            file = _open_to_append(self.path / MESH_FOLDER / "sessions.jsonl", 0)
            try:
                _append(file, line, self.path)
            finally:
                os.close(file)

    def close(self) -> None:
        """Close the files."""
        for file in (self._metadata, self._failed, self._spent):
            os.close(file)


@contextmanager
def open_bulk_folder(
    path: Path,
    run: RunSpec,
    take_row: Callable[[Row], None],
    *,
    keeps_failures: bool = False,
    agree: Callable[[RunSpec, Ledger], RunSpec] = lambda run, ledger: run,
    access: FileAccess = "private",
) -> Iterator[BulkFolder]:
    """Create a folder if needed and lock it for this process.

    `take_row` gets the row of each picture that exists already; `keeps_failures` keeps those of the run before. Before
    anything is written, `agree` gets the run, with what the folder remembers of it, and the pictures; it returns the
    run to remember, or raises. `access` says who may look at what the mesh keeps in the folder.

    Raises:
        OutputError: the folder cannot be written to, another process fills it, or it belongs to another run.
    """
    with suppress(OSError):  # which the check of the same folder reports
        path.mkdir(parents=True, exist_ok=True)
        (path / MESH_FOLDER).mkdir(mode=0o770 if access == "group" else 0o700)  # also under a laxer umask
    for folder in (path, path / "dataset", path / "dataset/images", path / MESH_FOLDER):
        picture_files.check_writable(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path / MESH_FOLDER / "bulk.lock"))
        except LockHeldError as error:
            raise OutputError(f"{path}: expected a folder that no other bulk writes to, got one {error}") from error
        check_run(path, run)
        ledger = dataset_rows.mend_rows(path / "dataset" / "metadata.jsonl")
        run = agree(remembering(run, read_run(path)), ledger)
        filled = BulkFolder(path, run, ledger, take_row, keeps_failures=keeps_failures)
        stack.callback(filled.close)
        yield filled


def _open_to_append(path: Path, flags: int) -> int:
    """Open a file to append lines, and end the last line if a kill cut it short."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | flags, 0o666)
        if (size := os.fstat(file).st_size) and os.pread(file, 1, size - 1) != b"\n":
            os.write(file, b"\n")
    except OSError as error:
        raise OutputError(f"{path}: expected a file to write to, got: {os_reason(error)}") from error
    return file


def _append(file: int, line: bytes, folder: Path) -> None:
    """Append a line in one call, so that lines of several threads never mix."""
    data = line + b"\n"
    try:
        written = os.write(file, data)
    except OSError as error:
        raise OutputError(f"{folder}: expected to append {len(data)} bytes, got: {os_reason(error)}") from error
    if written != len(data):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise OutputError(f"{folder}: expected to append {len(data)} bytes, got {written}: the disk is full") from full
