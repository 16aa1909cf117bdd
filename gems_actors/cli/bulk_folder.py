"""The folder that a bulk fills, and what is there already when the same command runs again.

    dataset/metadata.jsonl              one row a picture, which Hugging Face's imagefolder reads as it is
    dataset/images/00000/00000017.png   the picture of record 17, written whole or not at all; its third sample: …17-2
    dataset/images/00000/00000017-r2c1.png   with --attempts: what else was drawn for it, by round and candidate
    failed.jsonl                        one row a task that failed, as it stood in the input, with its class and reason
    run.json                            what the run was told: where its input is, its seed, its settings
    .mesh/                              log and pictures of the bulk's own mesh; spent.jsonl, what each picture cost;
                                        sessions.jsonl, how many each process drew, and in what time

One process at a time. A row torn by a kill is dropped, and so is one whose picture is gone: that task is drawn again.
Where every attempt has a row, those of a task stand together, that of its picture last: they count all or not at all.
Rows are added as pictures are finished; once all are, they are put in the order of the input.
"""

from __future__ import annotations

import heapq
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from itertools import groupby, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, Literal

import msgspec

from gems_actors.cli.bulk_input import BadTask, Task
from gems_actors.cli.output import (
    ENDINGS,
    OutputError,
    PictureFormat,
    check_writable,
    encode_json,
    parameters_of,
    picture_of,
    rounds_of,
    story_of,
    write_whole,
)
from gems_actors.cli.progress import count_met, leading_attempt
from gems_actors.locks import LockHeldError, hold_lock
from protocol.messages import Attempt, DrawSettings, ImageRef, Picture, Spent, add_costs

MESH_FOLDER: Final = ".mesh"
_IN_A_FOLDER: Final = 1000
_SORTED_AT_ONCE: Final = 20_000
_MERGED_AT_ONCE: Final = 256
"""Pieces of so many rows; each is an open file, of which a process may have 1024."""
_KEYS_A_PAGE: Final = 256

TaskState = Literal["new", "done", "changed"]


class RowRequirement(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement, and the verdict on the picture that was chosen."""

    id: str
    question: str
    kind: str
    answer: str | None
    score: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of metadata.jsonl; the same whenever the picture is."""

    file_name: str
    index: int
    """Of the record in the input, from 0."""
    sample: int
    key: str
    """What the picture follows from: its prompt, seed, settings, models and skills."""
    prompt: str
    final_prompt: str
    seed: int
    digest: str
    digests: tuple[str, ...]
    """Of all pictures that were drawn for it."""
    models: dict[str, str]
    skill: str | None
    rounds: int
    images: int
    met: int
    all_met: bool
    outcome: str
    decided_by: str
    requirements: tuple[RowRequirement, ...]
    met_by_round: tuple[int, ...]
    """Requirements that the best picture of each round meets."""
    metadata: dict[str, Any] | None = None
    """What else stood in the record; left out where there was nothing."""
    round: int | None = None
    """Of this attempt, where every attempt has a row; likewise `candidate` and `chosen`."""
    candidate: int | None = None
    chosen: bool | None = None
    """Whether it is the picture of its task. Prompt, digest and verdicts are those of this attempt, chosen or not."""

    @property
    def is_picture(self) -> bool:
        """Whether it stands for its task, and is not one of the attempts beside."""
        return self.chosen is not False


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


class _Place(msgspec.Struct, frozen=True, order=True):
    index: int
    sample: int = 0


_Numbered = tuple[_Place, int, bytes]
"""A row with where it belongs, and the number of its line."""


class BulkFolder:
    """A folder in our hands; made by `open_bulk_folder`."""

    def __init__(self, path: Path, run: RunFile, take_row: Callable[[Row], None], *, keeps_failures: bool) -> None:
        self.path = path
        self._run = run
        self.spent: dict[str, Spent] = {}
        """By role, on all pictures that are there."""
        self._keys = Keys()
        self._read_rows(take_row)
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
            rows = [*self._keep_others(task, sample, row, picture, read), _attempt_row(row, picture.best, chosen=True)]
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
            yield _attempt_row(msgspec.structs.replace(its_own, file_name=file_name), attempt, chosen=False)

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

    def _read_rows(self, take_row: Callable[[Row], None]) -> None:
        path, is_damaged = self.metadata_path, False
        for place, group in groupby(_rows_of(path, Row), _place_of_row):
            rows = list(group)
            if place is None or len(rows[_whole_in(rows, path.parent)]) != len(rows):
                is_damaged = True
            else:
                is_damaged |= self._keys.get(place.index, place.sample) is not None
                self._keys.put(place.index, place.sample, rows[-1].key)
        if is_damaged:
            sort_rows(path)
        for row in self.rows():
            take_row(row)


class Keys:
    """The key of each task that is done, in some nine bytes a task where they lie close together."""

    def __init__(self) -> None:
        self._pages: dict[tuple[int, int], array[int]] = {}
        """By number of the page and sample: of so many records, 0 for what is not done."""

    def put(self, index: int, sample: int, key: str) -> None:
        """Note a task."""
        page, place = divmod(index, _KEYS_A_PAGE)
        if (keys := self._pages.get((page, sample))) is None:
            keys = self._pages[page, sample] = array("Q", bytes(8 * _KEYS_A_PAGE))
        keys[place] = _number_of(key)

    def get(self, index: int, sample: int) -> int | None:
        """Return the key as a number, or None for a task that is not done."""
        page, place = divmod(index, _KEYS_A_PAGE)
        keys = self._pages.get((page, sample))
        return keys[place] or None if keys is not None else None

    def state_of(self, index: int, sample: int, key: str) -> TaskState:
        """Return whether a task was drawn before, and from the same."""
        known = self.get(index, sample)
        return "new" if known is None else "done" if known == _number_of(key) else "changed"


def read_keys(path: Path) -> Keys:
    """Return the keys of what a folder has, which may be none; nothing is changed in it."""
    keys = Keys()
    for row in rows_of(path):
        keys.put(row.index, row.sample, row.key)
    return keys


def run_of(path: Path) -> str:
    """Return the name under which memory knows the run of a folder."""
    return f"bulk-{blake2b(str(path.absolute()).encode(errors='replace'), digest_size=8).hexdigest()}"


def key_of(prompt: str, seed: int, settings: DrawSettings, models: Mapping[str, str], skills: str) -> str:
    """Return what a picture follows from, in 16 hexadecimal digits."""
    parts = [prompt, seed, msgspec.to_builtins(settings), dict(sorted(models.items())), skills]
    return blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


def _number_of(key: str) -> int:
    return int(key, 16) or 1


def file_name_of(index: int, sample: int, picture_format: PictureFormat = "png", attempt: Attempt | None = None) -> str:
    """Return where in the dataset a picture is, or an attempt beside it: a thousand records share a folder."""
    suffix = f"-{sample}" if sample else ""
    if attempt is not None:
        suffix += f"-r{attempt.round}c{attempt.candidate}"
    return f"images/{index // _IN_A_FOLDER:05d}/{index:08d}{suffix}{ENDINGS[picture_format]}"


def _attempt_row(row: Row, attempt: Attempt, *, chosen: bool) -> Row:
    return msgspec.structs.replace(row, round=attempt.round, candidate=attempt.candidate, chosen=chosen)


def _whole_in(rows: Sequence[Row], dataset: Path) -> slice:
    """Return where the last rows of a task stand, that of its picture last; nowhere if one or its picture is missing.

    Args:
        rows: of one task, as they were written, those of earlier drawings among them.
        dataset: that their file names are relative to.
    """
    end = max((number for number, row in enumerate(rows, 1) if row.is_picture), default=0)
    count = 0 if not end else 1 if rows[end - 1].chosen is None else rows[end - 1].images
    place = slice(max(0, end - count), end)
    is_whole = end >= count and not any(row.is_picture for row in rows[place][:-1])
    return place if is_whole and all((dataset / row.file_name).is_file() for row in rows[place]) else slice(0)


def failed_places(path: Path, class_: str | None) -> set[tuple[int, int]]:
    """Return index and sample of the tasks in a folder's failed.jsonl, of one class where one is named."""
    rows = _rows_of(path / "failed.jsonl", FailedRow)
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
        raise OutputError(f"{path}: expected a new folder or the output of {run.source}, came that of {earlier.source}")
    if earlier is not None and (earlier.pictures, earlier.attempts) != (run.pictures, run.attempts):
        shapes = (f"--pictures {told.pictures}{' --attempts' * told.attempts}" for told in (earlier, run))
        raise OutputError("{}: expected a new folder or {} as before, came {}".format(path, *shapes))
    if earlier is None and (path / "metadata.jsonl").exists():
        raise OutputError(f"{path}: expected a new folder, came one with another metadata.jsonl in it")


def keep_run(path: Path, run: RunFile) -> None:
    """Write what the run of a folder is told.

    Raises:
        OutputError: as `check_run`, or it cannot be written.
    """
    check_run(path, run)
    write_whole(path / "run.json", msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")


def rows_of(path: Path) -> Iterator[Row]:
    """Read the row of each picture in a folder, torn ones and those of other attempts left out."""
    return (row for row in all_rows_of(path) if row.is_picture)


def all_rows_of(path: Path) -> Iterator[Row]:
    """Read the rows of a folder, torn ones left out."""
    return (row for row in _rows_of(path / "dataset" / "metadata.jsonl", Row) if row is not None)


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
    failed = Counter(row.class_ for row in _rows_of(path / "failed.jsonl", FailedRow) if row is not None)
    spent: dict[str, Spent] = {}
    priced = 0
    for cost in _costs_of(path):
        add_costs(spent, cost.spent)
        priced += 1
    sessions = [item for item in _rows_of(path / MESH_FOLDER / "sessions.jsonl", _Session) if item is not None]
    return FolderState(
        running=running,
        failed=dict(failed),
        spent=spent,
        priced=priced,
        timed_pictures=sum(item.pictures for item in sessions),
        timed_s=sum(item.seconds for item in sessions),
    )


def sort_rows(path: Path) -> None:
    """Rewrite a file of rows in the order of their records, the last of each, without torn ones and lost pictures.

    Holds some thousand rows and some hundred files at once, however many rows there are.
    """
    with ExitStack() as stack:
        chunks: list[Iterator[_Numbered]] = []
        with path.open("rb") as lines:
            numbered = enumerate(lines)
            while batch := list(islice(numbered, _SORTED_AT_ONCE)):
                whole = [(place, number, line) for number, line in batch if (place := _place_of(line)) is not None]
                file = stack.enter_context(TemporaryFile(dir=path.parent))
                chunks.append(_put_aside(sorted(whole, key=_order_of), file))
                if len(chunks) == _MERGED_AT_ONCE:
                    file = stack.enter_context(TemporaryFile(dir=path.parent))
                    chunks = [_put_aside(heapq.merge(*chunks, key=_order_of), file)]
        target = path.with_name(f".{path.name}.sorted")
        with target.open("wb") as sink:
            merged = heapq.merge(*chunks, key=_order_of)
            for _, task in groupby(merged, key=lambda item: item[0]):
                written = [line for _, _, line in task]
                rows = [msgspec.json.decode(line, type=Row) for line in written]
                sink.writelines(written[_whole_in(rows, path.parent)])
            sink.flush()
            os.fsync(sink.fileno())
        target.replace(path)


def _order_of(item: _Numbered) -> tuple[_Place, int]:
    return item[:2]


def _put_aside(rows: Iterable[_Numbered], file: BinaryIO) -> Iterator[_Numbered]:
    """Write rows to an empty file, and give them again from there; it is closed after the last."""
    file.writelines(b"%d " % number + line for _, number, line in rows)
    file.seek(0)
    return _chunk_of(file)


def _chunk_of(file: BinaryIO) -> Iterator[_Numbered]:
    with file:
        for numbered in file:
            number, _, line = numbered.partition(b" ")
            yield msgspec.json.decode(line, type=_Place), int(number), line


def _place_of(line: bytes) -> _Place | None:
    """Return where a whole row belongs; None for a torn one."""
    if line.endswith(b"\n"):
        with suppress(msgspec.DecodeError):
            return _place_of_row(msgspec.json.decode(line, type=Row))
    return None


def _place_of_row(row: Row | None) -> _Place | None:
    return None if row is None else _Place(row.index, row.sample)


def _rows_of(path: Path, kind: type[Any]) -> Iterator[Any]:
    """Read the rows of a file, None for one that is torn; nothing where there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield msgspec.json.decode(line, type=kind) if line.endswith(b"\n") else None
            except msgspec.DecodeError:
                yield None


def _costs_of(path: Path) -> Iterator[_SpentRow]:
    """Read what each picture of a folder cost; where a kill came before its row it is written twice, and given once."""
    given = Keys()
    for row in _rows_of(path / MESH_FOLDER / "spent.jsonl", _SpentRow):
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
            raise OutputError(f"{path}: expected a folder that no other bulk writes to, came one {error}") from error
        keep_run(path, run)
        filled = BulkFolder(path, run, take_row, keeps_failures=keeps_failures)
        stack.callback(filled.close)
        yield filled


def row_of(task: Task, sample: int, key: str, picture: Picture, models: Mapping[str, str], seed: int) -> Row:
    """Return the row of a picture."""
    best = picture.best
    verdicts = {verdict.requirement: verdict for verdict in best.verdicts}
    rounds = rounds_of(picture)
    leading = [
        leading_attempt([attempt for attempt in picture.attempts if attempt.round == round_])
        for round_ in range(1, rounds + 1)
    ]
    return Row(
        file_name=file_name_of(task.index, sample),
        index=task.index,
        sample=sample,
        key=key,
        prompt=task.prompt,
        final_prompt=best.prompt,
        seed=seed,
        digest=best.image.digest,
        digests=tuple(attempt.image.digest for attempt in picture.attempts),
        models=dict(models),
        skill=picture.skill,
        rounds=rounds,
        images=len(picture.attempts),
        met=count_met(best),
        all_met=picture.all_met,
        outcome=picture.ending.outcome,
        decided_by=picture.ending.decided_by,
        requirements=tuple(
            RowRequirement(
                id=item.id,
                question=item.question,
                kind=item.kind,
                answer=verdicts[item.id].answer if item.id in verdicts else None,
                score=verdicts[item.id].score if item.id in verdicts else None,
            )
            for item in picture.requirements
        ),
        met_by_round=tuple(count_met(attempt) for attempt in leading if attempt is not None),
        metadata=dict(task.metadata) or None,
    )


def _open_to_append(path: Path, flags: int) -> int:
    """Open a file whose next line begins on one of its own, also behind one that a kill cut short."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | flags, 0o644)
        if (size := os.fstat(file).st_size) and os.pread(file, 1, size - 1) != b"\n":
            os.write(file, b"\n")
    except OSError as error:
        raise OutputError(f"{path}: expected a file to write to, came: {error.strerror}") from error
    return file


def _append(file: int, line: bytes, folder: Path) -> None:
    """Append a whole line in one call, so that lines of several threads never mix."""
    data = line + b"\n"
    try:
        written = os.write(file, data)
    except OSError as error:
        raise OutputError(f"{folder}: expected to append {len(data)} bytes, came: {error.strerror}") from error
    if written != len(data):
        raise OutputError(f"{folder}: expected to append {len(data)} bytes, came {written}: the disk is full")
