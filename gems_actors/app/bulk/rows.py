"""The rows of a dataset: one a picture, or one an attempt, each a line of metadata.jsonl.

Knows what a row says, where its picture is, when it is whole and in what order rows stand; not what else a bulk keeps.
Where every attempt has a row, those of a task stand together, that of its picture last: they count all or not at all.
"""

from __future__ import annotations

import heapq
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from hashlib import blake2b
from itertools import groupby, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, Literal

import msgspec

from gems_actors.app.bulk.tasks import Task
from gems_actors.app.draw_progress import count_met, leading_attempt
from gems_actors.app.picture_files import ENDINGS, PictureFormat, rounds_of
from protocol.messages import Attempt, DrawSettings, Picture

_IN_A_FOLDER: Final = 1000
_SORTED_AT_ONCE: Final = 5_000
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


class _Place(msgspec.Struct, frozen=True, order=True):
    index: int
    sample: int = 0


_Numbered = tuple[_Place, int, bytes]
"""A row with where it belongs, and the number of its line."""


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


def attempt_row(row: Row, attempt: Attempt, *, chosen: bool) -> Row:
    """Return a row as that of one attempt, where every attempt has one."""
    return msgspec.structs.replace(row, round=attempt.round, candidate=attempt.candidate, chosen=chosen)


def file_name_of(index: int, sample: int, picture_format: PictureFormat = "png", attempt: Attempt | None = None) -> str:
    """Return where in the dataset a picture is, or an attempt beside it: a thousand records share a folder."""
    suffix = f"-{sample}" if sample else ""
    if attempt is not None:
        suffix += f"-r{attempt.round}c{attempt.candidate}"
    return f"images/{index // _IN_A_FOLDER:05d}/{index:08d}{suffix}{ENDINGS[picture_format]}"


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


def key_of(prompt: str, seed: int, settings: DrawSettings, models: Mapping[str, str], skills: str) -> str:
    """Return what a picture follows from, in 16 hexadecimal digits."""
    parts = [prompt, seed, msgspec.to_builtins(settings), dict(sorted(models.items())), skills]
    return blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


def _number_of(key: str) -> int:
    return int(key, 16) or 1


def rows_of(path: Path) -> Iterator[Row]:
    """Read the row of each picture in a folder, torn ones and those of other attempts left out."""
    return (row for row in all_rows_of(path) if row.is_picture)


def all_rows_of(path: Path) -> Iterator[Row]:
    """Read the rows of a folder, torn ones left out."""
    return (row for row in lines_of(path / "dataset" / "metadata.jsonl", Row) if row is not None)


def lines_of(path: Path, kind: type[Any]) -> Iterator[Any]:
    """Read a record from each line of a file, None from one that is torn; nothing where there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield msgspec.json.decode(line, type=kind) if line.endswith(b"\n") else None
            except msgspec.DecodeError:
                yield None


def read_keys(path: Path) -> Keys:
    """Return the keys of what a folder has, which may be none; nothing is changed in it."""
    keys = Keys()
    for row in rows_of(path):
        keys.put(row.index, row.sample, row.key)
    return keys


def mend_rows(path: Path) -> Keys:
    """Return the keys of what a file of rows has, once those torn, lost or drawn anew are out of it."""
    keys, is_damaged = Keys(), False
    for place, group in groupby(lines_of(path, Row), _place_of_row):
        rows = list(group)
        if place is None or len(rows[_whole_in(rows, path.parent)]) != len(rows):
            is_damaged = True
        else:
            is_damaged |= keys.get(place.index, place.sample) is not None
            keys.put(place.index, place.sample, rows[-1].key)
    if is_damaged:
        sort_rows(path)
    return keys


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
