"""Select and read the tasks of a bulk, from lines, objects or rows. The bytes are foreign input and are checked here.

A file is streamed, never loaded whole. A record that cannot be drawn is yielded as a `BadTask`, so that a bad line does
not stop the others. Drawing fields of a record take precedence over the options of the bulk.
"""

from __future__ import annotations

import codecs
import csv
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

import msgspec
from msgspec import Meta

from gems_actors.app.options import parse_size
from gems_actors.app.prompts import PromptError, check_prompt, decode
from gems_actors.errors import UsageError
from protocol.identity import attempt_seed
from protocol.messages import Candidate, Guidance, MemoryMode, Prompt, Round, Seed, SkillId, Steps

STANDARD_INPUT: Final = "standard input"
InputFormat = Literal["txt", "jsonl", "csv", "parquet"]

MAX_SAMPLES: Final = 10_000
_MAX_LINE_BYTES: Final = 1024 * 1024
"""Limit for one record, which may have more fields than its prompt."""
_ROWS_AT_ONCE: Final = 256

Samples = Annotated[int, Meta(ge=1, le=MAX_SAMPLES)]


@dataclass(frozen=True, slots=True)
class Task:
    """One record that can be drawn."""

    index: int
    """Index among all records, from 0; blank lines of a text file count, so line 1 of an editor is index 0."""
    prompt: str
    seed: int | None = None
    """Seed of the record; by default it is derived from the bulk's seed."""
    samples: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Drawing fields of the record, by the names of `DrawSettings`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the record."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The whole record."""


@dataclass(frozen=True, slots=True)
class BadTask:
    """One record that cannot be drawn."""

    index: int
    where: str
    """Line or row in the file, counted from 1."""
    text: str
    """Text of the record, with U+FFFD for bytes that are not UTF-8."""
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """The tasks of a run that are selected."""

    shard: tuple[int, int] = (1, 1)
    """`(i, n)`: only records whose `index % n == i - 1`."""
    limit: int | None = None
    """Maximum tasks to draw now, not counting those that are done."""
    only: frozenset[tuple[int, int]] | None = None
    """Index and sample of single tasks; all tasks by default."""

    @property
    def is_all(self) -> bool:
        """Whether every task is selected; the limit does not matter."""
        return self.shard == (1, 1) and self.only is None

    def has(self, index: int, sample: int) -> bool:
        """Return whether a task is selected; the limit does not matter."""
        number, count = self.shard
        return index % count == number - 1 and (self.only is None or (index, sample) in self.only)

    def total(self, records: int | None, samples: int) -> int | None:
        """Return the number of selected tasks, or None while the number of records is unknown."""
        if self.only is not None:
            return len(self.only)
        if records is None:
            return None
        number, count = self.shard
        return len(range(number - 1, records, count)) * samples


class _Fields(msgspec.Struct):
    """Drawing fields of a record; text, as in a CSV file, is converted to numbers."""

    seed: Seed | None = None
    samples: Samples | None = None
    rounds: Round | None = None
    candidates: Candidate | None = None
    memory: MemoryMode | None = None
    skill: SkillId | None = None
    size: str | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    negative_prompt: Prompt | None = None


def format_of(path: Path) -> InputFormat:
    """Return the format of a file by the ending of its name.

    Raises:
        PromptError: the ending is not that of a known format.
    """
    match path.suffix.lower():
        case ".txt" | ".jsonl" | ".csv" | ".parquet" as suffix:
            return suffix[1:]  # type: ignore[return-value]  # the case names the formats
    got = path.suffix or "no ending"
    raise PromptError(f"{path}: expected a name that ends in .txt, .jsonl, .csv or .parquet, got {got!r}")


def open_source(stack: ExitStack, file: Path) -> tuple[BinaryIO, InputFormat]:
    """Return an input file, open until the stack ends, and its format; `-` is standard input.

    Raises:
        UsageError: the file cannot be read, or its name ends in no known format.
    """
    if file == Path("-"):
        return sys.stdin.buffer, "txt"
    try:
        return stack.enter_context(file.open("rb")), format_of(file)
    except OSError as error:
        raise UsageError(f"FILE: {file}: expected a readable file, got: {error.strerror}") from error
    except PromptError as error:
        raise UsageError(f"FILE: {error}") from error


def open_tasks(stream: BinaryIO, format_: InputFormat, samples: int = 1) -> Iterator[Task | BadTask]:
    """Return the tasks of a file, read one at a time; a record without its own number of samples has `samples`.

    Raises:
        PromptError: the file is not of this format or has no prompts; raised by this call, before the first record.
    """
    readers = {"txt": _read_texts, "jsonl": _read_objects, "csv": _read_csv, "parquet": _read_parquet}
    return readers[format_](stream, samples)


def count_records(stream: BinaryIO, format_: InputFormat) -> int | None:
    """Return the number of records and rewind the stream; None for a stream that cannot be rewound.

    Raises:
        PromptError: as `open_tasks`, or the file has no records.
    """
    if not stream.seekable():
        return None
    start = stream.tell()
    if format_ == "parquet":
        count: int = _open_parquet(stream).metadata.num_rows
    elif format_ == "csv":
        count = sum(1 for _ in _read_csv(stream, 1))
    else:
        count = sum(bool(line.strip()) for line in _lines_of(stream))
    stream.seek(start)
    if not count:
        raise PromptError("expected at least one record, got none")
    return count


def seed_of(task: Task, seed: int, sample: int) -> int:
    """Return the seed of one sample of a task, 0 to 2**32 - 1.

    The first sample has the seed of its record, by default a hash of the bulk's seed and the record's index; further
    samples have a hash of that seed. No seed depends on other records.
    """
    first = attempt_seed(seed, task.index + 1, 0) if task.seed is None else task.seed
    if sample == 0:
        return first
    return int.from_bytes(blake2b(f"sample\0{first}\0{sample}".encode(), digest_size=4).digest(), "big")


def _lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream; a line over the limit is cut one byte above it."""
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        rest = line
        while len(rest) > _MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(_MAX_LINE_BYTES + 1)
        yield line


def _read_lines(stream: BinaryIO, read: Callable[[int, bytes], Task]) -> Iterator[Task | BadTask]:
    for index, line in enumerate(_lines_of(stream)):
        text = line.rstrip(b"\r\n")
        if index == 0:
            text = text.removeprefix(codecs.BOM_UTF8)
        if not text.strip():
            continue
        try:
            if len(text) > _MAX_LINE_BYTES:
                raise PromptError(f"expected a line of at most {_MAX_LINE_BYTES:,} bytes, got more")
            yield read(index, text)
        except PromptError as error:
            yield BadTask(index, f"line {index + 1}", text[:_MAX_LINE_BYTES].decode(errors="replace"), str(error))


def _read_texts(stream: BinaryIO, samples: int) -> Iterator[Task | BadTask]:
    def read(index: int, line: bytes) -> Task:
        prompt = check_prompt(decode(line))
        return Task(index, prompt, samples=samples, record={"prompt": prompt})

    return _read_lines(stream, read)


def _read_objects(stream: BinaryIO, samples: int) -> Iterator[Task | BadTask]:
    def read(index: int, line: bytes) -> Task:
        decode(line)
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise PromptError(f"expected JSON: {error}") from error
        if not isinstance(record, dict):
            raise PromptError(f'expected an object like {{"prompt": "..."}}, got {line[:80].decode(errors="replace")}')
        return _task_of(index, record, samples)

    return _read_lines(stream, read)


def _read_csv(stream: BinaryIO, samples: int) -> Iterator[Task | BadTask]:
    csv.field_size_limit(_MAX_LINE_BYTES)
    rows = csv.reader(_texts_of(stream))
    try:
        header = next(rows, [])
    except csv.Error as error:
        raise PromptError(f"expected a line with the names of columns: {error}") from error
    if "prompt" not in header:
        raise PromptError(f"expected a column named prompt, got {', '.join(header) or 'an empty file'}")
    return _read_rows(rows, header, samples)


def _texts_of(stream: BinaryIO) -> Iterator[str]:
    """Yield lines as text; bytes that are not UTF-8 become lone surrogates, which the check of each prompt rejects."""
    for number, line in enumerate(_lines_of(stream)):
        yield (line if number else line.removeprefix(codecs.BOM_UTF8)).decode(errors="surrogateescape")


def _read_rows(rows: Any, header: list[str], samples: int) -> Iterator[Task | BadTask]:
    index = -1
    while True:
        index += 1
        row: list[str] = []
        try:
            row = next(rows)
            if not any(row):
                index -= 1  # blank lines do not count
                continue
            if len(row) != len(header):
                raise PromptError(f"expected {len(header)} fields, got {len(row)}")
            record = {name: value for name, value in zip(header, row, strict=True) if value}
            yield _task_of(index, record, samples)
        except StopIteration:
            return
        except (csv.Error, PromptError) as error:
            text = ",".join(row).encode(errors="replace").decode()
            yield BadTask(index, f"line {rows.line_num}", text, str(error))


def _read_parquet(stream: BinaryIO, samples: int) -> Iterator[Task | BadTask]:
    table = _open_parquet(stream)
    import pyarrow

    # Binary columns such as images are not metadata of a prompt.
    names = [item.name for item in table.schema_arrow if not pyarrow.types.is_binary(item.type)]
    return _read_batches(table, names, samples)


def _read_batches(table: Any, names: list[str], samples: int) -> Iterator[Task | BadTask]:
    """Yield the rows, one row group at a time; in a damaged group only the unreadable rows fail."""
    import pyarrow

    end = index = 0
    for group in range(table.num_row_groups):
        end += table.metadata.row_group(group).num_rows
        try:
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=[group], columns=names):
                for record in batch.to_pylist():
                    try:
                        yield _task_of(index, record, samples)
                    except PromptError as error:
                        yield BadTask(index, f"row {index + 1}", str(record)[:_MAX_LINE_BYTES], str(error))
                    index += 1
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = f"expected a readable row, got: {' '.join(str(error).split())[:200]}"
            for lost in range(index, end):
                yield BadTask(lost, f"row {lost + 1}", "", reason)
            index = end


def _open_parquet(stream: BinaryIO) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise PromptError("a Parquet file needs pyarrow: pip install 'gems-actors[parquet]'") from error
    try:
        table = parquet.ParquetFile(stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise PromptError(f"expected a Parquet file, got: {' '.join(str(error).split())[:200]}") from error
    if "prompt" not in table.schema_arrow.names:
        raise PromptError(f"expected a column named prompt, got {', '.join(table.schema_arrow.names)}")
    return table


def _task_of(index: int, record: Mapping[str, Any], samples: int) -> Task:
    """Return the task of a record; fields that are null are ignored."""
    record = {key: value for key, value in record.items() if value is not None}
    if not isinstance(text := record.get("prompt"), str):
        raise PromptError(f"expected a prompt as text, got {'none' if text is None else type(text).__name__}")
    prompt = check_prompt(text)
    drawing = {name: record[name] for name in _Fields.__struct_fields__ if name in record}
    try:
        fields = msgspec.convert(drawing, type=_Fields, strict=False)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        raise PromptError(f"{name}: {reason[0].lower()}{reason[1:]}, got {str(drawing.get(name))[:80]!r}") from error
    settings = {
        name: value
        for name in ("candidates", "memory", "skill", "steps", "guidance", "negative_prompt")
        if (value := getattr(fields, name)) is not None
    }
    if fields.rounds is not None:
        settings["max_rounds"] = fields.rounds
    if fields.size is not None:
        try:
            settings["width_px"], settings["height_px"] = parse_size(fields.size)
        except UsageError as error:
            raise PromptError(f"size: {error}") from error
    if fields.guidance is not None and not math.isfinite(fields.guidance):
        raise PromptError(f"guidance: expected a number, got {fields.guidance}")
    metadata = {key: value for key, value in record.items() if key != "prompt" and key not in drawing}
    return Task(index, prompt, fields.seed, fields.samples or samples, settings, metadata, record)
