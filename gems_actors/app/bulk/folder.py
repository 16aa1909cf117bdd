"""The folder that a bulk fills, and what is there already when the same command runs again.

    dataset/metadata.jsonl              one row a picture, which Hugging Face's imagefolder reads as it is
    dataset/images/00000/00000017.png   the picture of record 17, written whole or not at all; its third sample: …17-2
    dataset/images/00000/00000017-r2c1.png   with --attempts: what else was drawn for it, by round and candidate
    failed.jsonl                        one row a task that failed, as it stood in the input, with its class and reason
    run.json                            what the run was told: where its input is, its seed, its settings
    .mesh/                              log and pictures of the bulk's own mesh; spent.jsonl, what each picture cost;
                                        sessions.jsonl, how many each process drew, and in what time

One process at a time. A row torn by a kill is dropped, and so is one whose picture is gone: that task is drawn again.
Rows are added as pictures are finished; once all are, they are put in the order of the input.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from gems_actors.app.bulk.rows import (
    Keys,
    Row,
    TaskState,
    attempt_row,
    file_name_of,
    lines_of,
    mend_rows,
    row_of,
    rows_of,
    sort_rows,
)
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.app.picture_files import (
    OutputError,
    PictureFormat,
    check_writable,
    encode_json,
    parameters_of,
    picture_of,
    story_of,
    write_whole,
)
from gems_actors.locks import LockHeldError, hold_lock
from protocol.costs import add_costs
from protocol.messages import ImageRef, Picture, Spent

MESH_FOLDER: Final = ".mesh"


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was told, so that it can be taken up by its folder alone."""

    source: str
    """The input's absolute path, or `standard input`."""
    seed: int
    samples: int
    strategy: str
    settings: dict[str, Any]
    """What was asked of how to draw, as `draw_settings` takes it."""
    config_file: str | None
    overrides: tuple[str, ...]
    pictures: PictureFormat = "png"
    attempts: bool = False
    """Whether every attempt is part of the dataset."""


class FailedRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is read again of a line of failed.jsonl."""

    index: int
    sample: int = 0
    class_: str = msgspec.field(name="class", default="")


class _SpentRow(msgspec.Struct, frozen=True, kw_only=True):
    """Apart from the picture's own row, which is the same whenever the picture is."""

    index: int
    sample: int = 0
    key: str = "0"
    """Of the picture's row."""
    spent: dict[str, Spent]


class _Session(msgspec.Struct, frozen=True, kw_only=True):
    """What one process drew from its start to its end."""

    pictures: int
    seconds: float


class BulkFolder:
    """A folder in our hands; made by `open_bulk_folder`."""

    def __init__(self, path: Path, run: RunFile, take_row: Callable[[Row], None], *, keeps_failures: bool) -> None:
        self.path = path
        self._run = run
        self.spent: dict[str, Spent] = {}
        """By role, on all pictures that are there."""
        self._keys = mend_rows(self.metadata_path)
        for row in self.rows():
            take_row(row)
        self._read_spent()
        self._metadata = _open_to_append(self.metadata_path, 0)
        self._failed = _open_to_append(path / "failed.jsonl", 0 if keeps_failures else os.O_TRUNC)
        self._spent = _open_to_append(path / MESH_FOLDER / "spent.jsonl", 0)

    @property
    def metadata_path(self) -> Path:
        """Of the rows."""
        return self.path / "dataset" / "metadata.jsonl"

    def state_of(self, index: int, sample: int, key: str) -> TaskState:
        """Return whether a task was drawn before, and from the same."""
        return self._keys.state_of(index, sample, key)

    def keep_picture(
        self,
        task: Task,
        sample: int,
        key: str,
        picture: Picture,
        read: Callable[[ImageRef], bytes],
        models: Mapping[str, str],
        seed: int,
    ) -> Row:
        """Write a picture with its metadata, and its row; to be called from a thread.

        Args:
            task: what was drawn.
            sample: of the task.
            key: what the picture follows from.
            picture: how it came to be.
            read: returns the bytes of an image.
            models: what drew and judged.
            seed: of the sample.

        Raises:
            PictureError: an image is no picture.
            OutputError: it cannot be written.
            BlobError: an image cannot be read.
        """
        row = row_of(task, sample, key, picture, models, seed)
        row = msgspec.structs.replace(row, file_name=file_name_of(task.index, sample, self._run.pictures))
        is_anew = self._keys.get(task.index, sample) is not None
        if is_anew:  # without its picture a row counts for nothing: no kill may leave it with that of another drawing
            (self.path / "dataset" / row.file_name).unlink(missing_ok=True)
        rows = [row]
        if self._run.attempts:
            rows = [*self._keep_others(task, sample, row, picture, read), attempt_row(row, picture.best, chosen=True)]
        story = story_of(picture, seed=seed, model=models["image"])
        texts = {"parameters": parameters_of(picture, models["image"]), "gems": encode_json(story)}
        spent = _SpentRow(index=task.index, sample=sample, key=key, spent=picture.spent)
        _append(self._spent, msgspec.json.encode(spent), self.path)
        lines = b"\n".join(map(msgspec.json.encode, rows))
        if is_anew:
            _append(self._metadata, lines, self.path)
            os.fsync(self._metadata)
        self._write_picture(row.file_name, picture.best.image, read, texts)
        if not is_anew:  # others may look meanwhile, and find no row without its picture
            _append(self._metadata, lines, self.path)
        return row

    def _keep_others(
        self, task: Task, sample: int, row: Row, picture: Picture, read: Callable[[ImageRef], bytes]
    ) -> Iterator[Row]:
        """Write the attempts beside a picture and give the row of each; those of an earlier drawing are removed."""
        others = {
            file_name_of(task.index, sample, self._run.pictures, attempt): attempt
            for attempt in picture.attempts
            if attempt is not picture.best
        }
        place = self.path / "dataset" / row.file_name
        for stale in place.parent.glob(f"{place.stem}-r*"):
            if f"{Path(row.file_name).parent}/{stale.name}" not in others:
                stale.unlink()
        for file_name, attempt in others.items():
            ending = msgspec.structs.replace(picture.ending, best_round=attempt.round, best_candidate=attempt.candidate)
            as_chosen = msgspec.structs.replace(picture, ending=ending)
            texts = {"parameters": parameters_of(as_chosen, row.models["image"])}
            self._write_picture(file_name, attempt.image, read, texts)
            its_own = row_of(task, sample, row.key, as_chosen, row.models, row.seed)
            yield attempt_row(msgspec.structs.replace(its_own, file_name=file_name), attempt, chosen=False)

    def _write_picture(
        self, file_name: str, image: ImageRef, read: Callable[[ImageRef], bytes], texts: dict[str, str]
    ) -> None:
        target = self.path / "dataset" / file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, picture_of(read(image), image.media_type, self._run.pictures, texts))

    def keep_failure(self, task: Task | BadTask, sample: int, class_: str, reason: str) -> None:
        """Write why a task has no picture.

        Raises:
            OutputError: it cannot be written.
        """
        given = dict(task.given) if isinstance(task, Task) else {"line": task.text}
        place = {"index": task.index, **({"sample": sample} if sample else {})}
        line = msgspec.json.encode({**given, **place, "class": class_, "reason": reason}, enc_hook=str)
        _append(self._failed, line, self.path)

    def keep_session(self, pictures: int, seconds: float) -> None:
        """Write how many pictures this process drew, and in what time: the next run is estimated from it.

        Raises:
            OutputError: it cannot be written.
        """
        if pictures:
            line = msgspec.json.encode(_Session(pictures=pictures, seconds=seconds))
            file = _open_to_append(self.path / MESH_FOLDER / "sessions.jsonl", 0)
            try:
                _append(file, line, self.path)
            finally:
                os.close(file)

    def rows(self) -> Iterator[Row]:
        """Read all rows."""
        return rows_of(self.path)

    def put_in_order(self) -> None:
        """Rewrite the rows in the order of the input, each task once: of those drawn anew the later."""
        sort_rows(self.metadata_path)

    def close(self) -> None:
        """Close the files."""
        for file in (self._metadata, self._failed, self._spent):
            os.close(file)

    def _read_spent(self) -> None:
        for cost in _costs_of(self.path):
            if self._keys.get(cost.index, cost.sample) is not None:
                add_costs(self.spent, cost.spent)


def run_of(path: Path) -> str:
    """Return the name under which memory knows the run of a folder."""
    return f"bulk-{blake2b(str(path.absolute()).encode(errors='replace'), digest_size=8).hexdigest()}"


def failed_places(path: Path, class_: str | None) -> set[tuple[int, int]]:
    """Return index and sample of the tasks in a folder's failed.jsonl, of one class where one is named."""
    rows = lines_of(path / "failed.jsonl", FailedRow)
    return {(row.index, row.sample) for row in rows if row is not None and class_ in (None, row.class_)}


def settle_failures(path: Path, done: AbstractSet[tuple[int, int]]) -> None:
    """Take tasks out of failed.jsonl that are done by now, and of one that failed again all rows but the last.

    Raises:
        OutputError: the file cannot be written.
    """
    file = path / "failed.jsonl"
    kept: dict[tuple[int, int], bytes] = {}
    with file.open("rb") as lines:
        for line in lines:
            with suppress(msgspec.DecodeError):
                row = msgspec.json.decode(line, type=FailedRow)
                kept.pop((row.index, row.sample), None)
                if (row.index, row.sample) not in done:
                    kept[row.index, row.sample] = line
    write_whole(file, b"".join(kept.values()))


def read_run(path: Path) -> RunFile | None:
    """Return what the run of a folder was told; None where there was none.

    Raises:
        OutputError: it cannot be read.
    """
    try:
        return msgspec.json.decode((path / "run.json").read_bytes(), type=RunFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise OutputError(f"{path / 'run.json'}: expected what a bulk was told: {error}") from error


def check_run(path: Path, run: RunFile) -> None:
    """Look whether a folder, which may not be there yet, can be filled by a run.

    Raises:
        OutputError: the folder holds the output of another input, one in another format, or what was written by an
            earlier version.
    """
    earlier = read_run(path)
    if earlier is not None and earlier.source != run.source:
        raise OutputError(f"{path}: expected a new folder or the output of {run.source}, got that of {earlier.source}")
    if earlier is not None and (earlier.pictures, earlier.attempts) != (run.pictures, run.attempts):
        shapes = (f"--pictures {told.pictures}{' --attempts' * told.attempts}" for told in (earlier, run))
        raise OutputError("{}: expected a new folder or {} as before, got {}".format(path, *shapes))
    if earlier is None and (path / "metadata.jsonl").exists():
        raise OutputError(f"{path}: expected a new folder, got one with another metadata.jsonl in it")


def keep_run(path: Path, run: RunFile) -> None:
    """Write what the run of a folder is told.

    Raises:
        OutputError: as `check_run`, or it cannot be written.
    """
    check_run(path, run)
    write_whole(path / "run.json", msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")


class FolderState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the run of a folder is."""

    running: str | None
    """The process that fills it, in words; None while none does but this one."""
    failed: dict[str, int]
    """By class."""
    spent: dict[str, Spent]
    """By role."""
    priced: int = 0
    """Pictures that this was spent on."""
    timed_pictures: int = 0
    """Drawn by processes that came to their end, in `timed_s` seconds."""
    timed_s: float = 0.0


def look_at_folder(path: Path, take_row: Callable[[Row], None]) -> FolderState:
    """Look at what a run has come to, also while it goes on.

    Args:
        path: of the folder.
        take_row: called with the row of each picture.

    Raises:
        OutputError: it cannot be looked at.
    """
    running = None
    try:
        with hold_lock(path / MESH_FOLDER / "bulk.lock"):
            pass
    except LockHeldError as error:
        running = None if error.holder == str(os.getpid()) else f"process {error.holder}"
    except OSError as error:
        raise OutputError(f"{path}: expected a folder that can be looked at: {error.strerror}") from error
    for row in rows_of(path):
        take_row(row)
    failed = Counter(row.class_ for row in lines_of(path / "failed.jsonl", FailedRow) if row is not None)
    spent: dict[str, Spent] = {}
    priced = 0
    for cost in _costs_of(path):
        add_costs(spent, cost.spent)
        priced += 1
    sessions = [item for item in lines_of(path / MESH_FOLDER / "sessions.jsonl", _Session) if item is not None]
    return FolderState(
        running=running,
        failed=dict(failed),
        spent=spent,
        priced=priced,
        timed_pictures=sum(item.pictures for item in sessions),
        timed_s=sum(item.seconds for item in sessions),
    )


def _costs_of(path: Path) -> Iterator[_SpentRow]:
    """Read what each picture of a folder cost; where a kill came before its row it is written twice, and given once."""
    given = Keys()
    for row in lines_of(path / MESH_FOLDER / "spent.jsonl", _SpentRow):
        if row is not None and given.state_of(row.index, row.sample, row.key) != "done":
            given.put(row.index, row.sample, row.key)
            yield row


@contextmanager
def open_bulk_folder(
    path: Path, run: RunFile, take_row: Callable[[Row], None], *, keeps_failures: bool = False
) -> Iterator[BulkFolder]:
    """Take a folder, made where it is missing, for this process alone.

    Args:
        path: of the folder.
        run: what the run is told.
        take_row: called with the row of each picture that is there already.
        keeps_failures: those of the last run stay in failed.jsonl.

    Raises:
        OutputError: it cannot be written to, another bulk writes to it, or it holds the output of another.
    """
    for folder in (path, path / "dataset", path / "dataset/images", path / MESH_FOLDER):
        check_writable(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path / MESH_FOLDER / "bulk.lock"))
        except LockHeldError as error:
            raise OutputError(f"{path}: expected a folder that no other bulk writes to, got one {error}") from error
        keep_run(path, run)
        filled = BulkFolder(path, run, take_row, keeps_failures=keeps_failures)
        stack.callback(filled.close)
        yield filled


def _open_to_append(path: Path, flags: int) -> int:
    """Open a file whose next line begins on one of its own, also behind one that a kill cut short."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | flags, 0o644)
        if (size := os.fstat(file).st_size) and os.pread(file, 1, size - 1) != b"\n":
            os.write(file, b"\n")
    except OSError as error:
        raise OutputError(f"{path}: expected a file to write to, got: {error.strerror}") from error
    return file


def _append(file: int, line: bytes, folder: Path) -> None:
    """Append a whole line in one call, so that lines of several threads never mix."""
    data = line + b"\n"
    try:
        written = os.write(file, data)
    except OSError as error:
        raise OutputError(f"{folder}: expected to append {len(data)} bytes, got: {error.strerror}") from error
    if written != len(data):
        raise OutputError(f"{folder}: expected to append {len(data)} bytes, got {written}: the disk is full")
