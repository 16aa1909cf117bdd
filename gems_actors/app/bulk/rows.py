"""The rows of a dataset: one per picture, or one per attempt, each a line of metadata.jsonl.

Knows the content of a row, the path of its picture, when it is complete and how rows are sorted; not the other files of
a bulk. Where every attempt has a row, the rows of a task are adjacent, that of its picture last: they count only
together.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import groupby, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO, Final

import msgspec

from gems_actors.app.bulk.finished.ledger import Ledger, TaskRef
from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.tasks import Task
from gems_actors.app.draw_progress import count_met, leading_attempt
from gems_actors.app.picture_files import reason_of, rounds_of
from protocol.costs import costs_since
from protocol.messages import Attempt, DrawSettings, Picture, Spent

_LATER_SETTINGS: Final = {"actions": "any", "choose": "verdicts", "lesson_by": "compressor", "strength": None}
"""Drawing settings that were added once there were keys, with their defaults, which leave a key as it is."""
SORTED_AT_ONCE: Final = 5_000
"""Rows that are sorted in memory."""
MERGED_AT_ONCE: Final = 256
"""Sorted pieces that are merged at once; each is an open file, of which a process may have 1024."""


class RowRequirement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A requirement and its verdict on the chosen picture; what it has none of is left out, see `Row`."""

    id: str
    question: str
    kind: str
    answer: str | None = None
    score: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of metadata.jsonl; the same whenever the picture is the same.

    Nothing is null: a loader that reads the file in pieces would take the type of a column from the nulls of the first.
    """

    file_name: Annotated[str, msgspec.Meta(pattern=r"\A(?!/|(?:.*/)?\.\.(?:/|\Z))[^\0]+\Z")]
    """Path of the picture in the dataset; a row of a foreign folder cannot name a file outside of it."""
    index: int
    """Index of the record in the input, from 0, for order only."""
    sample: int
    key: str
    """Digest of prompt, seed, settings, models and source files."""
    prompt: str
    final_prompt: str
    seed: int
    digest: str
    digests: tuple[str, ...]
    """Digests of all images drawn for the picture."""
    models: dict[str, str]
    skill: str | None = None
    rounds: int
    images: int
    met: int
    all_met: bool
    outcome: str
    """Why the loop ended, one of the protocol's outcomes, or one of a later version."""
    decided_by: str
    requirements: tuple[RowRequirement, ...]
    met_by_round: tuple[int, ...]
    """Requirements met by the best image of each round."""
    met_by_image: tuple[int, ...] = ()
    """Requirements met by each image in the order of rounds and candidates; left out with one image a round."""
    actions: tuple[str, ...] = ()
    """What the refiner decided after each round; left out where it only rewrote."""
    failure: str = ""
    """The failure that ended the loop with the best attempt so far; left out when there is none."""
    judged_blind: bool = False
    """Whether a verifier that sees no pictures gave verdicts; left out where it is false."""
    references: tuple[str, ...] = ()
    """Files that the picture was drawn from, as its record names them now; left out when there are none."""
    reference_digests: tuple[str, ...] = ()
    """Digests of these files; left out as well."""
    metadata: str | dict[str, Any] | None = None
    """Other fields of the record as JSON text: Arrow, which loads datasets, takes types of objects from their values.

    In folders that an earlier version began it is an object, left out when there are none.
    """
    round: int | None = None
    """Round of this attempt, where every attempt has a row; the same applies to `candidate` and `chosen`."""
    candidate: int | None = None
    chosen: bool | None = None
    """Whether this attempt is the picture of its task. Prompt, digest and verdicts are those of this attempt."""
    not_understood: tuple[str, ...] = ()
    """Words of the prompt that were not understood, and so not checked; left out when there are none."""
    task: str = ""
    """Id of the task; left out, as the two fields that follow, in folders of earlier versions."""
    trajectory: str = ""
    """Id of the trajectory in memory."""
    skill_digest: str | msgspec.UnsetType = msgspec.UNSET
    """Digest of the skill that the picture was drawn with; empty without a skill."""

    @property
    def ref(self) -> TaskRef:
        """What the task is known by: its id, or its index without one."""
        return self.task or self.index

    @property
    def is_picture(self) -> bool:
        """Whether this is the row of a task's picture, not of another attempt."""
        return self.chosen is not False


@dataclass(frozen=True, slots=True)
class Reopened:
    """How a trajectory stood when a task was asked for."""

    reopenings: int
    """How often it had been reopened; 0 unless the task is continued."""
    spent: Mapping[str, Spent]
    """What it had cost; nothing unless the task is continued."""


NOT_REOPENED: Final = Reopened(0, {})


@dataclass(frozen=True, slots=True)
class DrawnTask:
    """A sample of a task and its picture."""

    task: Task
    sample: int
    key: str
    picture: Picture
    models: Mapping[str, str]
    """Name of the image model and of the chat models."""
    seed: int
    skill_digest: str = ""
    """Digest of the skill that the planner chose; empty without a skill."""
    reopened: Reopened = NOT_REOPENED

    @property
    def spent(self) -> dict[str, Spent]:
        """Cost by role, without what the task had cost before it was continued."""
        return costs_since(self.reopened.spent, self.picture.spent)

    @property
    def calls_by_image(self) -> tuple[int, ...]:
        """Calls of chat models until the verdicts on each image, in the order of rounds and candidates.

        Calls between rounds are shared out evenly, because a picture does not say which round they were for.
        """
        attempts, spent = self.picture.attempts, self.picture.spent
        learning = sum(cost.calls for role, cost in spent.items() if role in ("compressor", "refiner"))
        verifying = sum(cost.calls for role, cost in spent.items() if role in ("verifier", "generator"))
        before = sum(cost.calls for cost in spent.values()) - learning - verifying
        gaps, calls, found = max(1, rounds_of(self.picture) - 1), before, []
        for attempt in attempts:
            calls += attempt.verifying.calls
            found.append(calls + learning * (attempt.round - 1) // gaps)
        return tuple(found)


class RowId(msgspec.Struct, frozen=True, order=True):
    """The fields of a row by which rows are sorted."""

    index: int
    task: str = ""
    sample: int = 0

    @property
    def ref(self) -> TaskRef:
        """What the task is known by: its id, or its index without one."""
        return self.task or self.index


_NumberedRow = tuple[RowId, int, bytes]
"""A line of the file after its task and its number, by which lines are sorted."""


def row_of(drawn: DrawnTask, file_name: str) -> Row:
    """Return the row of a picture."""
    task, picture, best = drawn.task, drawn.picture, drawn.picture.best
    verdicts = {verdict.requirement: verdict for verdict in best.verdicts}
    rounds = rounds_of(picture)
    leading = [
        leading_attempt([attempt for attempt in picture.attempts if attempt.round == round_])
        for round_ in range(1, rounds + 1)
    ]
    return Row(
        file_name=file_name,
        index=task.index,
        sample=drawn.sample,
        key=drawn.key,
        prompt=task.prompt,
        final_prompt=picture.final_prompt,
        seed=drawn.seed,
        digest=best.image.digest,
        digests=tuple(attempt.image.digest for attempt in picture.attempts),
        models=dict(drawn.models),
        skill=picture.skill,
        rounds=rounds,
        images=len(picture.attempts),
        met=count_met(best),
        all_met=picture.all_met,
        outcome=picture.ending.outcome,
        judged_blind=picture.is_judged_blind,
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
        met_by_image=tuple(map(count_met, picture.attempts)) if len(picture.attempts) > rounds else (),
        actions=picture.actions if {*picture.actions} - {"rewrite"} else (),
        failure=reason_of(picture) or "",
        references=task.names,
        reference_digests=reference_digests_of(task),
        metadata=json_text(task.metadata),
        not_understood=picture.not_understood,
        task=task.id,
        trajectory=picture.trajectory if task.id else "",
        skill_digest=drawn.skill_digest if task.id else msgspec.UNSET,
    )


def reference_digests_of(task: Task) -> tuple[str, ...]:
    """Return the digests of the files that a task is drawn from, in the form of a picture's digest."""
    return tuple(f"sha256:{digest}" for digest in task.digests)


def attempt_row(row: Row, attempt: Attempt, *, chosen: bool) -> Row:
    """Return the row of an attempt from the row of a picture, where every attempt has a row."""
    return msgspec.structs.replace(row, round=attempt.round, candidate=attempt.candidate, chosen=chosen)


def key_of(
    prompt: str,
    seed: int,
    settings: DrawSettings,
    models: Mapping[str, str],
    skills: str,
    references: Sequence[str] = (),
) -> str:
    """Return the digest of everything that a picture follows from, 16 hexadecimal digits.

    `skills` is the digest of all skills in folders of earlier versions, and empty otherwise: the skill that was used is
    compared on its own. `references` are the digests of the files that the picture is drawn from.
    """
    drawing = {
        name: value
        for name, value in msgspec.to_builtins(settings).items()
        if (name, value) not in _LATER_SETTINGS.items()  # keys of earlier versions stay as they were
    }
    parts = [prompt, seed, drawing, dict(sorted(models.items())), skills, *([references] if references else [])]
    return blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of pictures in a folder, without torn rows and those of other attempts."""
    return (row for row in all_rows_of(path) if row.is_picture)


def all_rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of a folder, without torn ones."""
    return (row for row in lines_of(path / "dataset" / "metadata.jsonl", Row) if row is not None)


def lines_of(path: Path, kind: type[Any]) -> Iterator[Any]:
    """Yield a record for each line of a file, None for a torn line; nothing when there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield msgspec.json.decode(line, type=kind) if line.endswith(b"\n") else None
            except (msgspec.DecodeError, RecursionError):
                yield None


def compared_columns(metadata: str, references: Sequence[str]) -> str:
    """Return the columns of a record as text that no picture depends on: its metadata, and the names of its files."""
    return metadata if not references else json_text([metadata, *references])


def put_row(ledger: Ledger, row: Row) -> None:
    """Add the picture of a row to a ledger."""
    digest = "" if row.skill_digest is msgspec.UNSET else row.skill_digest
    metadata = compared_columns(row.metadata, row.references) if isinstance(row.metadata, str) else None
    ledger.put(row.ref, row.sample, row.index, row.key, row.skill, digest, metadata)


def read_ledger(path: Path) -> Ledger:
    """Return the pictures in a folder, which need not exist, without changing it."""
    ledger = Ledger()
    for row in rows_of(path):
        put_row(ledger, row)
    return ledger


def mend_rows(path: Path) -> Ledger:
    """Return the pictures in a file of rows, after removing rows that are torn, replaced or without their picture."""
    ledger, is_damaged, is_in_order = Ledger(), False, True
    last = RowId(-1)
    for task, group in groupby(lines_of(path, Row), _id_of_row):
        rows = list(group)
        if task is None or len(rows[_complete_in(rows, path.parent)]) != len(rows):
            is_damaged = True
        else:
            is_damaged |= ledger.has(task.ref, task.sample)
            put_row(ledger, rows[-1])
            is_in_order &= last < task
            last = task
    if is_damaged:
        sort_rows(path, ledger)
    ledger.is_in_order = is_in_order or is_damaged
    return ledger


def sort_rows(
    path: Path, ledger: Ledger, *, sorted_at_once: int = SORTED_AT_ONCE, merged_at_once: int = MERGED_AT_ONCE
) -> None:
    """Rewrite a file of rows in the order of their records, as a ledger knows it: the latest of each, if complete.

    An external merge sort: however long the file, `sorted_at_once` rows and `merged_at_once` files are open.
    """
    with ExitStack() as stack:
        chunks: list[Iterator[_NumberedRow]] = []
        with path.open("rb") as lines:
            numbered = enumerate(lines)
            while batch := list(islice(numbered, sorted_at_once)):
                placed = [
                    (id_, number, line) for number, line in batch if (id_ := _placed_id(line, ledger)) is not None
                ]
                file = stack.enter_context(TemporaryFile(dir=path.parent))
                chunks.append(_write_chunk(sorted(placed), file))
                if len(chunks) == merged_at_once:
                    file = stack.enter_context(TemporaryFile(dir=path.parent))
                    chunks = [_write_chunk(heapq.merge(*chunks), file)]
        target = path.with_name(f".{path.name}.sorted")
        with target.open("wb") as sink:
            merged = heapq.merge(*chunks)
            for id_, group in groupby(merged, key=lambda item: item[0]):
                written = [line for _, _, line in group]
                rows = [msgspec.json.decode(line, type=Row) for line in written]
                complete = _complete_in(rows, path.parent)
                sink.writelines(map(partial(_with_index, id_.index), rows[complete], written[complete]))
            sink.flush()
            os.fsync(sink.fileno())
        target.replace(path)


def _with_index(index: int, row: Row, line: bytes) -> bytes:
    """Return the line of a row with an index, which is the line itself unless its record has moved."""
    if row.index == index:
        return line
    return msgspec.json.encode(msgspec.structs.replace(row, index=index)) + b"\n"


def _write_chunk(rows: Iterable[_NumberedRow], file: BinaryIO) -> Iterator[_NumberedRow]:
    """Write rows to an empty file and return an iterator that reads them back, and closes the file after the last."""
    file.writelines(b"%d %d " % (id_.index, number) + line for id_, number, line in rows)
    file.seek(0)
    return _read_chunk(file)


def _read_chunk(file: BinaryIO) -> Iterator[_NumberedRow]:
    with file:
        for placed in file:
            index, number, line = placed.split(b" ", 2)
            id_ = msgspec.json.decode(line, type=RowId)
            yield RowId(int(index), id_.task, id_.sample), int(number), line


def _placed_id(line: bytes, ledger: Ledger) -> RowId | None:
    """Return by what a row is sorted, with the index that its record has now; None for a torn row."""
    if line.endswith(b"\n"):
        with suppress(msgspec.DecodeError, RecursionError):
            row = msgspec.json.decode(line, type=Row)
            return RowId(ledger.index_of(row.ref, row.sample, row.index), row.task, row.sample)
    return None


def _id_of_row(row: Row | None) -> RowId | None:
    return None if row is None else RowId(row.index, row.task, row.sample)


def _complete_in(rows: Sequence[Row], dataset: Path) -> slice:
    """Return the slice with the latest complete rows of a task; an empty one if a row or its picture is missing.

    The rows are in the order of writing and include those of earlier drawings.
    """
    end = max((number for number, row in enumerate(rows, 1) if row.is_picture), default=0)
    count = 0 if not end else 1 if rows[end - 1].chosen is None else rows[end - 1].images
    latest = slice(max(0, end - count), end)
    is_complete = end >= count and not any(row.is_picture for row in rows[latest][:-1])
    return latest if is_complete and all(_is_file(dataset, row) for row in rows[latest]) else slice(0)


def _is_file(dataset: Path, row: Row) -> bool:
    return os.path.isfile(f"{dataset}/{row.file_name}")  # noqa: PTH113 -- asked of a million rows: pathlib takes as long as the file system
